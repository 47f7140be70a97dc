"""What a job file may say, and how it is read."""

from isthmus.spec.job import (
    DataSpec,
    EarlyStoppingSpec,
    JobSpec,
    PluginSpec,
    SpecModel,
    TrainingSpec,
)
from isthmus.spec.load import Catalog, job_schema, load_job, parse_job
from isthmus.spec.plan import ModelPlan
from isthmus.spec.settings import Settings

__all__ = [
    "Catalog",
    "DataSpec",
    "EarlyStoppingSpec",
    "JobSpec",
    "ModelPlan",
    "PluginSpec",
    "Settings",
    "SpecModel",
    "TrainingSpec",
    "job_schema",
    "load_job",
    "parse_job",
]
