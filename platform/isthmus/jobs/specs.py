"""From a job file to a plan: what the file says, checked against what exists and what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from isthmus import nets, variants
from isthmus.errors import Fault, SpecError
from isthmus.spec import Catalog, DataSpec, JobSpec, ModelPlan, job_schema, load_job, parse_job
from isthmus.types import DataKind, ReconstructionLoss, ScalingMode, Shape

# `latent_dim: auto` is a quarter of the row, within these.
_LATENT_SHARE = 4
_LATENT_RANGE = (2, 32)


def catalog() -> Catalog:
    """The variants and nets that a job file may name."""
    return Catalog(
        variants=variants.names(),
        nets=nets.names(),
        variant_config=variants.config,
        net_config=nets.config,
    )


def load_job_file(path: str | Path, overrides: Sequence[str] = ()) -> JobSpec:
    """Reads a job file and checks all that can be checked without the data.

    Args:
        path: The YAML file.
        overrides: Values for dotted names, `training.epochs=5`.

    Raises:
        SpecError: With every fault at once.
    """
    spec = load_job(path, overrides, catalog())
    _refuse(_contradictions(spec), str(path))
    return spec


def check_job(content: Mapping[str, Any] | JobSpec) -> JobSpec:
    """As `load_job_file`, for a job given from Python.

    Raises:
        SpecError: With every fault at once.
    """
    spec = parse_job(content, catalog())
    _refuse(_contradictions(spec), "")
    return spec


def schema() -> dict[str, Any]:
    """The JSON schema of a job file with all variants and nets."""
    return job_schema(catalog())


def plan_for(spec: JobSpec, data: DataSpec, row_shape: Shape) -> ModelPlan:
    """Settles what `auto` leaves open, now that the rows are known.

    Args:
        spec: The job.
        data: Its data with nothing left open.
        row_shape: Shape of one row.

    Raises:
        SpecError: If the net does not take such rows.
    """
    kind = DataKind(data.kind)
    _refuse(_contradictions(spec.model_copy(update={"data": data})), "")
    return ModelPlan(
        kind=kind,
        row_shape=row_shape,
        latent_dim=_auto_latent_dim(row_shape) if spec.latent_dim == "auto" else spec.latent_dim,
        variant=spec.variant,
        net=nets.for_kind(kind) if spec.net.name == "auto" else spec.net,
        reconstruction=spec.reconstruction,
    )


def _auto_latent_dim(row_shape: Shape) -> int:
    lowest, highest = _LATENT_RANGE
    return min(max(prod(row_shape) // _LATENT_SHARE, lowest), highest)


def _contradictions(spec: JobSpec) -> list[Fault]:
    """What is wrong between fields that are each right."""
    faults = []
    data = spec.data
    if spec.net.name != "auto" and data.kind != "auto":
        takes = nets.get(spec.net.name).KINDS
        if data.kind not in takes:
            choices = ", ".join(n for n in nets.names() if data.kind in nets.get(n).KINDS)
            faults.append(
                Fault("net", f'"{spec.net.name}" does not take {data.kind}; use auto or {choices}')
            )
    scaled_to_unit = data.scaling is ScalingMode.MINMAX or (
        data.scaling == "auto" and data.kind in ("auto", DataKind.IMAGES)
    )
    if spec.reconstruction is ReconstructionLoss.BCE and not scaled_to_unit:
        faults.append(
            Fault(
                "reconstruction",
                f"bce needs values in [0, 1], and data.scaling is {data.scaling}; "
                "set data.scaling: minmax",
            )
        )
    return faults


def _refuse(faults: list[Fault], source: str) -> None:
    if faults:
        raise SpecError(faults, source)
