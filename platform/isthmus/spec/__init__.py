"""Describes and reads job files: their fields, their checks, and the settings of the machine."""

from isthmus.spec.candidates import as_options, search_faults, searched, with_values
from isthmus.spec.data import DataSpec
from isthmus.spec.job import (
    EarlyStoppingSpec,
    JobSpec,
    PluginSpec,
    TrainingSpec,
)
from isthmus.spec.load import (
    Catalog,
    apply_override,
    change_job,
    job_schema,
    load_job,
    parse_job,
)
from isthmus.spec.model import SpecModel
from isthmus.spec.options import DataAwareOptions
from isthmus.spec.plan import ModelPlan
from isthmus.spec.promotion import PromotionSpec
from isthmus.spec.rows import RowSchema
from isthmus.spec.settings import Settings
from isthmus.spec.size import Size, SizeName, Sizes
from isthmus.spec.start import StartSpec
from isthmus.spec.tuning import RangeSpec, TuningSpec

__all__ = [
    "Catalog",
    "DataAwareOptions",
    "DataSpec",
    "EarlyStoppingSpec",
    "JobSpec",
    "ModelPlan",
    "PluginSpec",
    "PromotionSpec",
    "RangeSpec",
    "RowSchema",
    "Settings",
    "Size",
    "SizeName",
    "Sizes",
    "SpecModel",
    "StartSpec",
    "TrainingSpec",
    "TuningSpec",
    "apply_override",
    "as_options",
    "change_job",
    "job_schema",
    "load_job",
    "parse_job",
    "search_faults",
    "searched",
    "with_values",
]
