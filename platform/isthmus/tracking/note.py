"""The Markdown description at the top of a run's page in MLflow's UI."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.spec import DataSpec, JobSpec, ModelPlan


def note(
    spec: JobSpec,
    plan: ModelPlan | None = None,
    data: DataSpec | None = None,
    rows: Mapping[str, int] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Returns a description of the run, in as much detail as is known yet.

    Args:
        spec: The job.
        plan: The plan of the model.
        data: The data options, with all open values resolved.
        rows: The number of rows in each part of the split.
        metrics: The metrics of the trained model.
    """
    parts = [spec.description] if spec.description else []
    parts.append(_model_line(spec, plan))
    parts.append(_data_line(data or spec.data, rows))
    if metrics:
        parts += _result_lines(spec, metrics, plan)
    return "\n\n".join(parts)


def _model_line(spec: JobSpec, plan: ModelPlan | None) -> str:
    if plan is None:
        return f"Trains **{spec.name}**: a {spec.variant.name} autoencoder."
    shape = " x ".join(str(size) for size in plan.row_shape)
    return (
        f"Trains **{spec.name}**: a {plan.variant.name} autoencoder, {plan.net.name} net, "
        f"{shape} numbers in a row, {plan.latent_dim} in a latent, {plan.reconstruction} loss."
    )


def _data_line(data: DataSpec, rows: Mapping[str, int] | None) -> str:
    line = f"Data: `{data.shown_path}`"
    if rows:
        line += "; rows: " + ", ".join(f"{count:,} {split}" for split, count in rows.items())
    return line + "."


def _result_lines(spec: JobSpec, metrics: Mapping[str, float], plan: ModelPlan | None) -> list[str]:
    from isthmus.tracking.noise_in_words import compared_in_words, remarks
    from isthmus.tracking.rates_in_words import rates_in_words

    lines = []
    ours, pca = metrics.get("test/reconstruction_mse"), metrics.get("test/pca_mse")
    if ours is not None:
        beside = "" if pca is None else f"\n| PCA of the same latent size | {pca:.4g} |"
        lines.append(
            "| mean squared error on test rows | |\n|---|---|\n"
            f"| autoencoder | **{ours:.4g}** |{beside}"
        )
    if plan is not None and (compared := compared_in_words(metrics, plan)):
        lines += [f"{line[:1].upper()}{line[1:]}." for line in (compared, *remarks(metrics, plan))]
    verb = "denoise"
    if plan is not None and (rates := rates_in_words(metrics, plan)):
        lines.append(f"{rates[:1].upper()}{rates[1:]}.")
        verb = "compress"
    lines.append(
        f"Use it: `isthmus {verb} --model {spec.name} INPUT OUTPUT`, "
        f"`isthmus detect --model {spec.name} INPUT OUTPUT` (once promoted to champion)."
    )
    return lines
