"""Turns a job file into a plan, and checks it against the variants, the nets and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isthmus.declarations import declaration, plugin_names
from isthmus.errors import Fault, SpecError
from isthmus.jobs.trainer_flags import flag_faults
from isthmus.spec import Catalog, DataSpec, JobSpec, ModelPlan, job_schema, load_job, parse_job
from isthmus.spec.losses import refusal as loss_refusal
from isthmus.types import DataKind, ReconstructionLoss, ScalingMode, Shape

if TYPE_CHECKING:
    from isthmus.core import Autoencoder


def catalog() -> Catalog:
    """Returns the variants, nets and scores that a job file may name."""
    return Catalog(
        variants=plugin_names("variants"),
        nets=plugin_names("nets"),
        scores=plugin_names("scores"),
        variant_config=lambda name: _declared("variants", name, "Config"),
        net_config=lambda name: _declared("nets", name, "Config"),
        score_config=lambda name: _declared("scores", name, "Config"),
    )


def _declared(room: str, name: str, variable: str) -> Any:
    """Returns what a variant, net or score declares, without importing it: that takes seconds."""
    return declaration(room, name).value(variable)


def load_job_file(path: str | Path, overrides: Sequence[str] = ()) -> JobSpec:
    """Reads a job file and checks everything that can be checked without the data.

    Args:
        path: The YAML file.
        overrides: Values for dotted names, `training.epochs=5`.

    Raises:
        SpecError: If it has faults; the error holds all of them.
    """
    spec = load_job(path, overrides, catalog())
    _refuse(_contradictions(spec), str(path))
    return spec


def check_job(content: Mapping[str, Any] | JobSpec) -> JobSpec:
    """Does the same as `load_job_file`, for a job given from Python.

    Raises:
        SpecError: If it has faults; the error holds all of them.
    """
    spec = parse_job(content, catalog())
    _refuse(_contradictions(spec), "")
    return spec


def schema() -> dict[str, Any]:
    """Returns the JSON schema of a job file with all variants and nets."""
    return job_schema(catalog())


def build(
    variant: str | Mapping[str, object],
    *,
    row_shape: Shape,
    latent_dim: int | Literal["auto"],
    net: str | Mapping[str, object],
    kind: str,
    reconstruction: str,
    **training: Any,
) -> Autoencoder:
    """Does the same as `isthmus.build`.

    Raises:
        SpecError: If the arguments do not fit together.
    """
    kinds = {2: DataKind.SERIES, 3: DataKind.IMAGES}
    known = kinds.get(len(row_shape), DataKind.TABULAR) if kind == "auto" else kind
    content = {
        "name": "built",
        # The caller, who trains the module, has the rows, scales them, and pairs their views.
        "data": {
            "path": "-",
            "kind": known,
            "scaling": ScalingMode.MINMAX,
            "paired_path": "-" if _wants_pairs(variant) else None,
        },
        "variant": variant,
        "net": net,
        "latent_dim": latent_dim,
        "reconstruction": reconstruction,
    }
    spec = check_job(content)
    from isthmus import variants

    return variants.build(plan_for(spec, spec.data, row_shape), **training)


def _wants_pairs(variant: str | Mapping[str, object]) -> bool:
    name = variant.get("name") if isinstance(variant, Mapping) else variant
    return name in plugin_names("variants") and _declared("variants", str(name), "VIEWS") == 2


def plan_for(spec: JobSpec, data: DataSpec, row_shape: Shape) -> ModelPlan:
    """Returns the plan of the autoencoder, with every `auto` resolved now that the rows are known.

    Args:
        spec: The job.
        data: The job's data section with every `auto` resolved.
        row_shape: The shape of one row.

    Raises:
        SpecError: If the variant, the net or the loss does not accept such rows.
    """
    from isthmus import nets, variants

    kind = DataKind(data.kind)
    _refuse(_contradictions(spec.model_copy(update={"data": data})), "")
    net = nets.for_kind(kind) if spec.net.name == "auto" else spec.net
    made = nets.made_for(net, row_shape)
    latent_dim, fixed = spec.latent_dim, made.fixed_latent_dim()
    if latent_dim == "auto":
        wanted = variants.get(spec.variant.name).auto_latent_dim(row_shape)
        latent_dim = made.nearest_latent_dim(wanted)
    elif fixed is not None and latent_dim != fixed:
        message = f"{net.name} alone determines its latent's size; use latent_dim: auto"
        _refuse([Fault("latent_dim", message)], "")
    plan = ModelPlan(
        kind=kind,
        row_shape=row_shape,
        latent_dim=latent_dim,
        variant=spec.variant,
        net=net,
        reconstruction=_loss(spec),
    )
    refusals = {
        "variant": variants.get(spec.variant.name).refusal(plan),
        "net": made.refusal(latent_dim),
        "reconstruction": loss_refusal(_loss(spec), kind, row_shape),
    }
    _refuse([Fault(where, why) for where, why in refusals.items() if why], "")
    return plan


def _loss(spec: JobSpec) -> ReconstructionLoss:
    if spec.reconstruction == "auto":
        loss: ReconstructionLoss = _declared("variants", spec.variant.name, "AUTO_LOSS")
        return loss
    return spec.reconstruction


def _contradictions(spec: JobSpec) -> list[Fault]:
    """Returns the faults between fields that are each valid by themselves."""
    return [
        *_of_the_kind(spec),
        *_of_variant_and_net(spec),
        *_of_the_loss(spec),
        *_of_paired_views(spec),
        *_of_trainer_flags(spec),
    ]


def _of_the_kind(spec: JobSpec) -> list[Fault]:
    kind = spec.data.kind
    if kind == "auto":
        return []
    faults = []
    for field, room, name in (
        ("variant", "variants", spec.variant.name),
        ("net", "nets", spec.net.name),
        ("scoring", "scores", spec.scoring.name),
    ):
        if name != "auto" and kind not in _declared(room, name, "KINDS"):
            takers = [each for each in plugin_names(room) if kind in _declared(room, each, "KINDS")]
            choices = ", ".join(takers)
            also = "auto or " if field == "net" else ""
            faults.append(Fault(field, f'"{name}" does not take {kind}; use {also}{choices}'))
    why = loss_refusal(_loss(spec), DataKind(kind))
    return [*faults, Fault("reconstruction", why)] if why else faults


def _of_variant_and_net(spec: JobSpec) -> list[Fault]:
    net, variant = spec.net.name, spec.variant.name
    if net == "auto" or not _declared("nets", net, "HAS_SKIPS"):
        return []
    if _declared("variants", variant, "TAKES_SKIPS"):
        return []
    takers = ", ".join(
        name for name in plugin_names("variants") if _declared("variants", name, "TAKES_SKIPS")
    )
    return [
        Fault(
            "net",
            f'"{net}" lets the row through its skip connections, and {spec.variant.name} would '
            f"learn to copy; use variant {takers}, or net conv",
        )
    ]


def _of_the_loss(spec: JobSpec) -> list[Fault]:
    data, loss = spec.data, _loss(spec)
    faults = []
    scaled_to_unit = data.scaling is ScalingMode.MINMAX or (
        data.scaling == "auto" and data.kind in ("auto", DataKind.IMAGES)
    )
    if loss.needs_unit_range and not scaled_to_unit:
        message = (
            f"{loss} needs values in [0, 1], and data.scaling is {data.scaling}; "
            "set data.scaling: minmax"
        )
        faults.append(Fault("reconstruction", message))
    variant = spec.variant.name
    if not loss.is_elementwise and _declared("variants", variant, "NEEDS_ELEMENTWISE_LOSS"):
        message = f"{loss} has no error for single numbers, which {variant} weighs; use l1"
        faults.append(Fault("reconstruction", message))
    return faults


def _of_paired_views(spec: JobSpec) -> list[Fault]:
    name = spec.variant.name
    views = _declared("variants", name, "VIEWS")
    if views == 2 and spec.data.paired_path is None:
        message = (
            f"{name} learns from two noisy measurements of each row; name the other file in "
            "data.paired_path, or use noise2void, which needs one"
        )
        return [Fault("data.paired_path", message)]
    if views == 1 and spec.data.paired_path is not None:
        takers = ", ".join(
            each for each in plugin_names("variants") if _declared("variants", each, "VIEWS") == 2
        )
        message = f"{name} takes one view of each row; leave data.paired_path out, or use {takers}"
        return [Fault("data.paired_path", message)]
    return []


def _of_trainer_flags(spec: JobSpec) -> list[Fault]:
    faults = flag_faults(spec.training.trainer)
    return [Fault(f"training.trainer.{name}", why) for name, why in faults.items()]


def _refuse(faults: list[Fault], source: str) -> None:
    if faults:
        raise SpecError(faults, source)
