"""Writes the summaries of pairs for notebooks: facts, figures beside PCA's, and pictures."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus import variants
from isthmus.bundle.manifest import PairManifest
from isthmus.notebook import Figure, Picture, summary
from isthmus.registry.figures import beside_pca, named
from isthmus.spec import ModelPlan, Settings
from isthmus.tracking import run_figures

_PICTURES = {
    "reconstructions": "held-out rows beside what the pair makes of them",
    "errors": "the errors of held-out rows",
    "loss": "the losses of all epochs",
    "latent_space": "the latents of held-out rows in two dimensions",
}


def plan_in_words(plan: ModelPlan) -> str:
    """Returns what a pair is made of, in one line."""
    shape = " x ".join(map(str, plan.row_shape))
    return (
        f"variant {plan.variant.name}, net {plan.net.name}; rows of {shape} numbers, latents of "
        f"{plan.latent_dim}"
    )


def figures_of(metrics: Mapping[str, float]) -> list[Figure]:
    """Returns the figures on held-out rows, for a summary."""
    return [Figure(named(name), *both) for name, both in beside_pca(metrics).items()]


def pictures_of(run_id: str, settings: Settings, *names: str) -> list[Picture]:
    """Returns pictures of a run, for a summary; none if the store does not answer."""
    found = run_figures(run_id, names, settings)
    return [Picture(_PICTURES[name], found[name]) for name in names if name in found]


def pair_summary(manifest: PairManifest, reference: str, settings: Settings | None) -> str:
    """Returns the summary of a loaded pair, as HTML.

    Args:
        manifest: The pair's manifest.
        reference: The pair's name and version.
        settings: The settings with the store of its run; `None` leaves the pictures out.
    """
    trained = f"{manifest.rows['train']:,} rows of " if "train" in manifest.rows else ""
    # Without the folders before it, which are of one machine, and may be private.
    data = manifest.data.shown_path.rstrip("/").rpartition("/")[2]
    summary_of_variant = variants.get(manifest.plan.variant.name).SUMMARY
    facts = {
        "trained on": f"{trained}{data}",
        "created": f"{manifest.created[:16].replace('T', ' ')} UTC",
        "score": f"{manifest.detector.scoring.name}; above {manifest.threshold:.4g} a row is an "
        "anomaly",
        "pair": manifest.pair_id,
    }
    return summary(
        f"Pair {reference}",
        lines=[
            f"{plan_in_words(manifest.plan)}.",
            f"{summary_of_variant[:1].upper()}{summary_of_variant[1:]}.",
        ],
        facts=facts,
        figures=figures_of(manifest.metrics),
        ours=reference,
        pictures=[]
        if settings is None
        else pictures_of(manifest.run_id, settings, "reconstructions"),
    )
