"""Says right after a training why the gate will refuse the pair, if its figures show that."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.spec import ModelPlan
from isthmus.spec.promotion import PromotionSpec
from isthmus.tracking.noise_in_words import denoises, harms, loses_to_pca_on_noise

_STILL_IMPROVING = 0.8
"""The share of all epochs after which a best epoch says that training was too short."""


def refusal_in_words(
    metrics: Mapping[str, float], plan: ModelPlan, promotion: PromotionSpec
) -> str:
    """Returns why the gate will refuse the pair, and what to try; empty if no figure shows it.

    The gate may still refuse a pair for another reason, such as a champion that is better.

    Args:
        metrics: The metrics of the run.
        plan: The plan of the pair.
        promotion: The bounds that its job asks for.
    """
    if promotion.policy == "warn":
        return ""
    if promotion.must_denoise and harms(metrics, plan):
        return "The gate will refuse it, as it makes held-out rows with noise worse."
    if not promotion.beat_pca:
        return ""
    if denoises(metrics, plan):
        if not loses_to_pca_on_noise(metrics, plan):
            return ""
        return (
            "It loses to PCA of the same size on held-out rows with noise, so that promote will "
            f"refuse it. {_to_try(metrics)}."
        )
    own, pca = metrics["test/reconstruction_mse"], metrics.get("test/pca_mse")
    if pca is None or own < pca:
        return ""
    beside = f"{own / pca:.3g} times PCA's" if pca else f"{own:.3g}, and PCA's is 0"
    return (
        f"It loses to PCA of the same size: its error is {beside}, so that promote will refuse "
        f"it. {_to_try(metrics)}."
    )


def _to_try(metrics: Mapping[str, float]) -> str:
    epochs = metrics["epochs"]
    if metrics["best_epoch"] > _STILL_IMPROVING * epochs:
        return (
            "It was best in its last epochs: train longer, with "
            f"training.epochs={5 * epochs:.0f} (--set on the command line)"
        )
    return (
        "Try isthmus tune with other values of training.learning_rate and latent_dim, a larger "
        "net (isthmus nets), or another variant (isthmus variants)"
    )
