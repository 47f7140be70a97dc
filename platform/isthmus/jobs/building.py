"""Builds an autoencoder that its caller trains, with the checks of a job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from isthmus import modules, plugins
from isthmus.jobs.catalog import declared
from isthmus.jobs.specs import check_job, plan_for
from isthmus.modules import AutoencoderModule
from isthmus.types import DataKind, ScalingMode, Shape

Choice = str | type | Mapping[str, object]
"""A variant or net: its name, its class, or a mapping of one of both as `name` with options."""


def build(
    variant: Choice,
    *,
    row_shape: Shape,
    latent_dim: int | Literal["auto"],
    net: Choice,
    kind: str,
    reconstruction: str,
    **training: Any,
) -> AutoencoderModule:
    """Does the same as `isthmus.build`.

    Raises:
        SpecError: If the arguments do not fit together.
    """
    kinds = {2: DataKind.SERIES, 3: DataKind.IMAGES}
    known = kinds.get(len(row_shape), DataKind.TABULAR) if kind == "auto" else kind
    named = plugins.without_classes({"variant": variant, "net": net})
    variant = named["variant"]
    content = {
        "name": "built",
        # The caller, who trains the module, has the rows, scales them, and pairs their views.
        "data": {
            "path": "-",
            "kind": known,
            "scaling": ScalingMode.MINMAX,
            "paired_path": "-" if _wants_pairs(variant) else None,
            "clean_path": "-" if _wants_clean_rows(variant) else None,
        },
        **named,
        "latent_dim": latent_dim,
        "reconstruction": reconstruction,
    }
    spec = check_job(content)
    return modules.build(plan_for(spec, spec.data, row_shape), **training)


def _wants_pairs(variant: object) -> bool:
    name = variant.get("name") if isinstance(variant, Mapping) else variant
    is_known = plugins.is_known("variants", str(name))
    return is_known and declared("variants", str(name), "VIEWS") == 2


def _wants_clean_rows(variant: object) -> bool:
    return isinstance(variant, Mapping) and variant.get("corruption") == "none"
