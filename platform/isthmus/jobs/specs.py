"""Turns a job file into a plan, and checks it against the variants, the nets and the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from isthmus import plugins
from isthmus.declarations import plugin_names
from isthmus.errors import Fault, SpecError
from isthmus.jobs.catalog import catalog
from isthmus.jobs.catalog import declared as _declared
from isthmus.jobs.sizes import chosen_net, size_of, sized_latent_dim
from isthmus.jobs.trainer_flags import flag_faults
from isthmus.kinds import facts_of, is_taken
from isthmus.spec import (
    DataAwareOptions,
    DataSpec,
    JobSpec,
    ModelPlan,
    PluginSpec,
    RowSchema,
    change_job,
    load_job,
    parse_job,
)
from isthmus.spec.losses import refusal as loss_refusal
from isthmus.types import DataKind, ReconstructionLoss, ScalingMode, Shape


def load_job_file(
    path: str | Path, overrides: Sequence[str] = (), search: Sequence[str] = ()
) -> JobSpec:
    """Reads a job file and checks everything that can be checked without the data.

    Args:
        path: The YAML file.
        overrides: Values for dotted names, `training.epochs=5`.
        search: Further values that `isthmus tune` tries, `latent_dim=choice:8,16,32`.

    Raises:
        SpecError: If it has faults; the error holds all of them.
    """
    spec = load_job(path, overrides, catalog(), search)
    _refuse(_contradictions(spec), str(path))
    return spec


def check_job(content: Mapping[str, Any] | JobSpec) -> JobSpec:
    """Does the same as `load_job_file`, for a job given from Python.

    Raises:
        SpecError: If it has faults; the error holds all of them.
    """
    if not isinstance(content, JobSpec):
        content = plugins.with_files_of_classes(content)
    spec = parse_job(content, catalog())
    _refuse(_contradictions(spec), "")
    return spec


def changed_job(
    content: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[JobSpec, tuple[str, ...]]:
    """Applies overrides to the job of a run; returns it, and the dotted names that were given.

    Raises:
        SpecError: If the changed job has faults; the error holds all of them.
    """
    spec, names = change_job(content, overrides, catalog())
    _refuse(_contradictions(spec), "")
    return spec, names


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
    net = chosen_net(spec, data, kind) if spec.net.name == "auto" else spec.net
    made = nets.made_for(net, row_shape)
    latent_dim, fixed = spec.latent_dim, made.fixed_latent_dim()
    if latent_dim == "auto":
        wanted = variants.get(spec.variant.name).auto_latent_dim(row_shape)
        wanted = sized_latent_dim(wanted, size_of(spec, net.name), row_shape)
        latent_dim = made.nearest_latent_dim(wanted)
    elif fixed is not None and latent_dim != fixed:
        message = f"{net.name} alone determines its latent's size; use latent_dim: auto"
        _refuse([Fault("latent_dim", message)], "")
    plan = ModelPlan(
        kind=kind,
        row_shape=row_shape,
        latent_dim=latent_dim,
        variant=_settled_variant(spec, data),
        net=net,
        reconstruction=_loss(spec, kind),
    )
    refusals = {
        "variant": variants.get(spec.variant.name).refusal(plan),
        "net": made.refusal(latent_dim),
        "reconstruction": loss_refusal(_loss(spec, kind), kind, row_shape),
    }
    _refuse([Fault(where, why) for where, why in refusals.items() if why], "")
    return plan


def data_of(spec: JobSpec) -> DataSpec:
    """Returns the data section, with what depends on the variant resolved before data are read."""
    if spec.data.short_files != "auto":
        return spec.data
    # Noise can be removed from any recording; whether it is unusual, a part of it may not tell.
    pads = _declared("variants", spec.variant.name, "REMOVES_NOISE")
    return spec.data.model_copy(update={"short_files": "pad" if pads else "refuse"})


def _loss(spec: JobSpec, kind: DataKind | Literal["auto"]) -> ReconstructionLoss:
    if spec.reconstruction != "auto":
        return spec.reconstruction
    of_sounds = _declared("variants", spec.variant.name, "AUTO_LOSS_OF_SOUNDS")
    is_sound = kind != "auto" and facts_of(kind).shown_as == "sounds"
    is_other = is_sound and of_sounds is not None
    loss: ReconstructionLoss = (
        of_sounds if is_other else _declared("variants", spec.variant.name, "AUTO_LOSS")
    )
    return loss


def _contradictions(spec: JobSpec) -> list[Fault]:
    """Returns the faults between fields that are each valid by themselves."""
    return [
        *_of_the_kind(spec),
        *_of_variant_and_net(spec),
        *_of_the_loss(spec),
        *_of_second_views(spec),
        *_of_patches(spec),
        *_of_the_variants_options(spec),
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
        if name != "auto" and not _takes(room, name, kind):
            choices = ", ".join(each for each in plugin_names(room) if _takes(room, each, kind))
            also = "auto or " if field == "net" else ""
            faults.append(Fault(field, f'"{name}" does not take {kind}; use {also}{choices}'))
    why = loss_refusal(_loss(spec, kind), DataKind(kind))
    return [*faults, Fault("reconstruction", why)] if why else faults


def _takes(room: str, name: str, kind: DataKind) -> bool:
    return is_taken(kind, _declared(room, name, "KINDS"))


def _of_variant_and_net(spec: JobSpec) -> list[Fault]:
    net, variant = spec.net.name, spec.variant.name
    if net == "auto" or not _declared("nets", net, "HAS_SKIPS"):
        return []
    needed = "CODES_MAPS" if _declared("nets", net, "ONE_MAP") else "TAKES_SKIPS"
    if _declared("variants", variant, needed):
        return []
    takers = _variants_that(lambda each: _declared("variants", each, needed))
    return [
        Fault(
            "net",
            f'"{net}" lets the row through, since its latent is as large, and {variant} would '
            f"learn to copy; use variant {takers}, or net conv",
        )
    ]


def _of_the_loss(spec: JobSpec) -> list[Fault]:
    data, loss = spec.data, _loss(spec, spec.data.kind)
    faults = []
    scaled_to_unit = data.scaling is ScalingMode.MINMAX or (
        data.scaling == "auto"
        and (data.kind == "auto" or facts_of(data.kind).scaling is ScalingMode.MINMAX)
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


def _of_second_views(spec: JobSpec) -> list[Fault]:
    name, data = spec.variant.name, spec.data
    views = _declared("variants", name, "VIEWS")
    faults = []
    if views == 2 and data.paired_path is None:
        message = (
            f"{name} learns from two noisy measurements of each row; name the other file in "
            "data.paired_path, or use noise2void, which needs one"
        )
        faults.append(Fault("data.paired_path", message))
    if views == 1 and data.paired_path is not None:
        takers = _variants_that(lambda each: _declared("variants", each, "VIEWS") == 2)
        message = f"{name} takes one view of each row; leave data.paired_path out, or use {takers}"
        faults.append(Fault("data.paired_path", message))
    if data.clean_path is not None and not _declared("variants", name, "TAKES_CLEAN_ROWS"):
        takers = _variants_that(lambda each: _declared("variants", each, "TAKES_CLEAN_ROWS"))
        message = f"{name} does not learn from clean rows; leave it out, or use variant {takers}"
        faults.append(Fault("data.clean_path", message))
    return faults


def _of_patches(spec: JobSpec) -> list[Fault]:
    """Returns what does not go with patches, or only with them."""
    data, variant, net = spec.data, spec.variant.name, spec.net.name
    if data.patch is None:
        fields = {"augment": data.augment, "patches_per_epoch": data.patches_per_epoch != "auto"}
        message = "is about patches of images; set data.patch, or leave it out"
        return [Fault(f"data.{name}", message) for name, is_set in fields.items() if is_set]
    faults = []
    if data.image_size is not None:
        message = "resizes images, and data.patch leaves them at their size; leave one out"
        faults.append(Fault("data.image_size", message))
    of_kind = ("patch",) if data.kind == "auto" else facts_of(data.kind).fields
    if "patch" not in of_kind:
        also = "; use data.window" if "window" in of_kind else ""
        message = f"is cut out of images, and this is {data.kind}{also or '; leave it out'}"
        faults.append(Fault("data.patch", message))
    if not _takes_any_size(variant):
        takers = _variants_that(_takes_any_size)
        message = (
            f'"{variant}" has a bottleneck of one size, and data.patch makes a pair for images of '
            f"any size; use {takers}, or data.image_size instead of data.patch"
        )
        faults.append(Fault("variant", message))
    if net != "auto" and not _declared("nets", net, "ANY_SIZE"):
        fit = [True, _declared("variants", variant, "CODES_MAPS")]
        flags = ("ANY_SIZE", "ONE_MAP")
        found = plugin_names("nets")
        takers = ", ".join(n for n in found if [_declared("nets", n, f) for f in flags] == fit)
        message = (
            f'"{net}" takes images of one size, and data.patch makes a pair for images of any '
            f"size; use auto or {takers}"
        )
        faults.append(Fault("net", message))
    return faults


def _takes_any_size(variant: str) -> bool:
    return any(_declared("variants", variant, each) for each in ("TAKES_SKIPS", "CODES_MAPS"))


def _variants_that(fits: Callable[[str], bool]) -> str:
    return ", ".join(name for name in plugin_names("variants") if fits(name))


def _of_the_variants_options(spec: JobSpec) -> list[Fault]:
    options = _data_aware(spec.variant)
    refusals = {} if options is None else options.refusals(spec.data)
    return [Fault(f"variant.{option}", why) for option, why in refusals.items()]


def refuse_once_scaled(plan: ModelPlan, data: DataSpec, scale: float) -> None:
    """Refuses options of the variant that do not suit the training rows.

    Args:
        plan: The plan of the autoencoder.
        data: The job's data section with every `auto` resolved.
        scale: The number of data units in a scaled unit; the largest, if features differ.

    Raises:
        SpecError: If there are such options.
    """
    options = _data_aware(plan.variant)
    refusals = {} if options is None else options.refusals_once_scaled(data, scale)
    _refuse([Fault(f"variant.{option}", why) for option, why in refusals.items()], "")


def plan_of_rows(plan: ModelPlan, spec: JobSpec, data: DataSpec, schema: RowSchema) -> ModelPlan:
    """Returns a plan with what `auto` means for the training rows themselves.

    Args:
        plan: The plan that `plan_for` made.
        spec: The job.
        data: The job's data section with every `auto` resolved.
        schema: The schema of the training rows, with their ranges.
    """
    variant = _settled_variant(spec, data, schema)
    return plan.model_copy(update={"variant": variant})


def _settled_variant(spec: JobSpec, data: DataSpec, schema: RowSchema | None = None) -> PluginSpec:
    options = _data_aware(spec.variant)
    if options is None:
        return spec.variant
    found = options.settled(data) if schema is None else options.settled_once_read(data, schema)
    return PluginSpec(name=spec.variant.name, options=found.model_dump(mode="json"))


def _data_aware(variant: PluginSpec) -> DataAwareOptions | None:
    """Returns a variant's options if their limits or defaults depend on the data."""
    options = _declared("variants", variant.name, "Config").model_validate(dict(variant.options))
    return options if isinstance(options, DataAwareOptions) else None


def _of_trainer_flags(spec: JobSpec) -> list[Fault]:
    faults = flag_faults(spec.training.trainer)
    return [Fault(f"training.trainer.{name}", why) for name, why in faults.items()]


def _refuse(faults: list[Fault], source: str) -> None:
    if faults:
        raise SpecError(faults, source)
