"""The commands `train`, `validate` and `schema`, for job files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.terminal import err, out
from isthmus.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isthmus.jobs.train import TrainResult

JobFile = Annotated[Path, typer.Argument(help="The job file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Change a field: training.epochs=5. Repeatable."
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
    as_json: AsJson = False,
) -> None:
    """Train an autoencoder and register it as an encoder/decoder pair.

    Ctrl-C stops after the epoch, and the run can be resumed.

    Example: isthmus train pipelines/jobs/digits.yaml --set training.epochs=20
    """
    if (job is None) == (resume is None):
        raise typer.BadParameter("give a job file, or --resume RUN")
    if resume is not None and overrides:
        raise typer.BadParameter("--set does not go with --resume: a run goes on as it began")
    from isthmus import api
    from isthmus.cli.progress import TrainingProgress

    with TrainingProgress() as progress:
        if job is not None:
            result = api.train(job, overrides=overrides or [], reporter=progress)
        else:
            result = api.resume(resume or "", reporter=progress)
    if as_json:
        print_json(result)
    if result.status == "interrupted":
        when = f" after epoch {result.epochs}" if result.epochs else ""
        err.print(f"Stopped{when}. Go on with: isthmus train --resume {result.run_id[:8]}")
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
        from isthmus.jobs.preparation import prepare

        prepared = prepare(spec)
        plan, sizes = prepared.plan, prepared.split_sizes
        found |= {
            "net": plan.net.name,
            "kind": plan.kind,
            "row_shape": plan.row_shape,
            "latent_dim": plan.latent_dim,
            "rows": sizes,
        }
        rows = (
            f"\n  {sum(sizes.values())} rows of shape {plan.row_shape} ({plan.kind}): "
            f"{sizes['train']} to train, {sizes['validation']} to validate, "
            f"{sizes['test']} to test; latent {plan.latent_dim}"
        )
    if as_json:
        print_json(found)
        return
    out.print(
        f"{job} is right: {spec.name}, variant {spec.variant.name}, net {found['net']}, "
        f"data {spec.data.shown_path}, {spec.training.most_workers} worker(s){rows}"
    )


def schema() -> None:
    """Print the JSON schema of job files, with which editors complete them.

    Example: isthmus schema > job.schema.json
    """
    import json

    from isthmus.jobs.specs import schema as job_schema

    out.print_json(json.dumps(job_schema()))


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


def _summarise(result: "TrainResult") -> None:
    assert result.pair is not None  # noqa: S101 (finished)
    metrics, plan = result.metrics, result.plan
    out.print(f"[bold]{result.pair}[/bold] is registered (pair {result.pair.pair_id})")
    out.print(
        f"  {plan.variant.name} over {plan.net.name}, latent {plan.latent_dim}, rows of shape "
        f"{plan.row_shape}; {metrics['epochs']:.0f} epochs, best {metrics['best_epoch']:.0f}, "
        f"{metrics['seconds']:.0f} s"
    )
    out.print(
        f"  reconstruction error on held-out rows {metrics['test_reconstruction_mse']:.5f}, "
        f"PCA of the same size {metrics['test_pca_mse']:.5f} (mean squares, scaled units)"
    )
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
    out.print(f"Next: isthmus promote {result.pair.name} {result.pair.version}")
