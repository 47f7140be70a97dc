"""The commands `train`, `validate` and `schema`, for job files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.terminal import err, out
from isthmus.errors import printable
from isthmus.progress.counting import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isthmus.jobs.train import TrainResult
    from isthmus.registry import RegisteredPair
    from isthmus.spec import JobSpec, ModelPlan, PluginSpec

JobFile = Annotated[Path, typer.Argument(help="The job file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a field: training.epochs=5. Repeatable.",
        autocompletion=completion.fields,
    ),
]
INTERRUPTED = 130
_MOST_NAMES = 8


def train(
    job: Annotated[
        Path | None, typer.Argument(help="The job file (YAML).", show_default=False)
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Resume an interrupted run, given its id or name."),
    ] = None,
    finish: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Register what a stopped run has, from its best epoch so far, and end it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train an autoencoder and register it as an encoder/decoder pair.

    Ctrl-C stops after the step, and the run can be resumed. With --resume, --set may change
    epochs, early stopping, schedule and checkpoint interval.

    Example: isthmus train pipelines/jobs/digits.yaml --set training.epochs=20
    """
    if sum(each is not None for each in (job, resume, finish)) != 1:
        raise typer.BadParameter("give a job file, or --resume RUN, or --finish RUN")
    if finish is not None and overrides:
        raise typer.BadParameter("--set does not go with --finish, which trains no further")
    from isthmus import api
    from isthmus.allocation import keep_freed_memory
    from isthmus.cli.progress import TrainingProgress

    keep_freed_memory()
    with TrainingProgress() as progress:
        if job is not None:
            result = api.train(job, overrides=overrides or [], reporter=progress)
        elif resume is not None:
            result = api.resume(resume, reporter=progress, overrides=overrides or [])
        else:
            result = api.finish(finish or "")
    if as_json:
        print_json(result)
    if result.status == "interrupted":
        when, run = f" after epoch {result.epochs}" if result.epochs else "", result.run_id[:8]
        end = f", or register what it has: isthmus train --finish {run}" if result.epochs else ""
        err.print(f"Stopped{when}. Go on with: isthmus train --resume {run}{end}")
        raise typer.Exit(INTERRUPTED)
    if not as_json:
        _summarise(result)


def validate(
    job: JobFile,
    overrides: Overrides = None,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read the data too, as training does.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a job file and print all of its faults at once.

    Example: isthmus validate pipelines/jobs/digits.yaml
    """
    from isthmus.jobs.specs import load_job_file

    spec = load_job_file(job, overrides or [])
    found: dict[str, object] = {
        "job": job,
        "name": spec.name,
        "variant": spec.variant.name,
        "net": spec.net.name,
        "data": spec.data.shown_path,
        "workers": spec.training.most_workers,
    }
    rows = ""
    if data:
        of_data, rows = _checked_with_data(spec)
        found |= of_data
    if as_json:
        print_json(found)
        return
    out.print(
        f"{job} is right: {spec.name}, variant {spec.variant.name}, net {found['net']}, "
        f"data {spec.data.shown_path}, {spec.training.most_workers} worker(s){rows}"
    )


def _checked_with_data(spec: "JobSpec") -> "tuple[dict[str, object], str]":
    """Reads the data of a job, as training does; returns what is found, and the same in words."""
    from isthmus.jobs.preparation import prepare
    from isthmus.jobs.starting import starting_pair
    from isthmus.spec import Settings

    spec, start = starting_pair(spec, Settings.from_environment())
    prepared = prepare(spec, start=start)
    plan, sizes = prepared.plan, prepared.split_sizes
    found: dict[str, object] = {
        "net": plan.net.name,
        "kind": plan.kind,
        "row_shape": plan.row_shape,
        "latent_dim": plan.latent_dim,
        "rows": sizes,
        "size": spec.size,
        "net_options": plan.net.options,
        "epochs": prepared.spec.training.epochs,
        "learning_rate": prepared.spec.training.learning_rate,
    }
    what = "rows" if spec.data.patch is None else "patches"
    said = (
        f"\n  {sum(sizes.values())} {what} of shape {plan.row_shape} ({plan.kind}): "
        f"{sizes['train']} to train, {sizes['validation']} to validate, "
        f"{sizes['test']} to test; latent {plan.latent_dim}"
        f"\n  size {spec.size}: {_in_words(plan.net)}; {found['epochs']} epochs, learning rate "
        f"{found['learning_rate']:g}"
    )
    if start is not None:
        found["started_from"] = start.pair.reference
        said += f"\n  starts from {start.pair.reference} (pair {start.pair_id})"
    return found, said


def _in_words(net: "PluginSpec") -> str:
    told = ", ".join(f"{name} {value}" for name, value in net.options.items())
    return f"{net.name} with {told}" if told else net.name


def schema(
    job: Annotated[
        Path | None,
        typer.Argument(help="A job file, to add its own plugins.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON schema of job files, with which editors complete them.

    Example: isthmus schema > job.schema.json
    """
    from isthmus.jobs.job_schema import schema as job_schema

    print_json(job_schema(job))


def print_limits(metrics: "Mapping[str, float]", not_reconstructed: "Sequence[str]") -> None:
    """Prints what the pair of a finished training cannot be relied on for."""
    if not_reconstructed:
        shown = ", ".join(map(printable, not_reconstructed[:_MOST_NAMES]))
        more = len(not_reconstructed) - _MOST_NAMES
        out.print(
            "  not reconstructed (less than 5 % of the variance on held-out rows): "
            f"{shown}{f' and {more} more' if more > 0 else ''}",
            markup=False,
        )
    if metrics.get("calibration_files") == 1:
        out.print(
            "  the threshold rests on the windows of one file: normal windows of other files may "
            "score above it; train with more files to hold out several"
        )


def print_results(metrics: "Mapping[str, float]", plan: "ModelPlan") -> None:
    """Prints the errors on held-out rows beside PCA's, and what denoisers and codecs are for."""
    from isthmus.tracking.noise_in_words import compared_in_words, remarks
    from isthmus.tracking.rates_in_words import rates_in_words

    pca = metrics.get("test/pca_mse")
    beside = "" if pca is None else f", PCA of the same size {pca:.5f}"
    out.print(
        f"  reconstruction error on held-out rows {metrics['test/reconstruction_mse']:.5f}{beside} "
        "(mean squares, scaled units)"
    )
    compared, rates = compared_in_words(metrics, plan), rates_in_words(metrics, plan)
    for line in (compared, *remarks(metrics, plan), rates):
        if line:
            out.print(f"  {line}")


def print_next(pair: "RegisteredPair", refusal: str) -> None:
    """Says why the gate will refuse the pair and what to try, else how to promote it."""
    if refusal:
        out.paragraph(refusal)
    else:
        out.print(f"Next: isthmus promote {pair.name} {pair.version}")


def _summarise(result: "TrainResult") -> None:
    assert result.pair is not None  # noqa: S101 (finished)
    metrics, plan = result.metrics, result.plan
    out.print(f"[bold]{result.pair}[/bold] is registered (pair {result.pair.pair_id})")
    best = f"best {metrics['best_epoch']:.0f}" if metrics["best_epoch"] else "none beat the start"
    out.print(
        f"  {plan.variant.name} over {plan.net.name}, latent {plan.latent_dim}, rows of shape "
        f"{plan.row_shape}; {counted(metrics['epochs'], 'epochs')}, {best}, "
        f"{metrics['seconds']:.0f} s"
    )
    if result.started_from is not None:
        out.print(f"  training started from {result.started_from}")
    print_results(metrics, plan)
    print_limits(metrics, result.not_reconstructed)
    if "latent_affine_error" in metrics:
        affine, rotation = (
            100 * metrics[f"latent_{kind}_error"] for kind in ("affine", "procrustes")
        )
        out.print(
            f"  latents as the champion's: {affine:.3g} % of their variance is lost by an affine "
            f"map, {rotation:.3g} % by a rotation"
        )
    out.print(f"  run {result.run_id[:8]}: see it with isthmus ui")
    print_next(result.pair, result.refusal)
