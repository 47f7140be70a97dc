"""The figures of a denoiser in words, for the command line, the run's page and the card."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.declarations import declaration, plugin_names
from isthmus.kinds import facts_of, is_taken
from isthmus.spec import ModelPlan


def compared_in_words(metrics: Mapping[str, float], plan: ModelPlan) -> str:
    """Returns what a denoiser makes of rows with noise beside what costs nothing, in one line.

    Args:
        metrics: The metrics of the run, whose names begin with `test/`.
        plan: The plan of the pair.

    Returns:
        The line; empty for a pair that takes no noise away.
    """
    from isthmus.core.noise_reduction import DENOISED, FILTER, NOISY, PCA, measure_for

    measure, found = measure_for(plan.kind), _found(metrics, plan)
    if DENOISED not in found:
        return ""
    weak, beside = _found(metrics, plan, weakest=True), "; at the weakest noise of the range "
    others = {PCA: "by PCA of the same size", FILTER: f"by {facts_of(plan.kind).noise_filter}"}
    if measure.unit == "dB":
        others = {NOISY: "with noise", DENOISED: "denoised", **others}
        parts = [f"{found[whose]:.2f} dB {words}" for whose, words in others.items()
                 if whose in found]  # fmt: skip
        at = f"{weak[NOISY]:.2f} dB with noise, {weak[DENOISED]:.2f} dB denoised" if weak else ""
        return f"{measure.words} of held-out rows {', '.join(parts)}{at and beside}{at}"
    parts = [f"{found[whose]:.1%} {words}" for whose, words in others.items() if whose in found]
    left = ", ".join([f"{found[DENOISED]:.1%} is left", *parts])
    at = f"{weak[DENOISED]:.1%}" if weak else ""
    return f"of the squared error of held-out rows with noise {left}{at and beside}{at}"


def remarks(metrics: Mapping[str, float], plan: ModelPlan) -> list[str]:
    """Returns what should be known about a denoiser whose figures are bad, and what to try.

    Args:
        metrics: The metrics of the run, whose names begin with `test/`.
        plan: The plan of the pair.
    """
    from isthmus.core.noise_reduction import DENOISED, FILTER, NOISY

    worth, weak = (_worth(metrics, plan, weakest=each) for each in (False, True))
    if DENOISED not in worth:
        return []
    if worth[DENOISED] < worth[NOISY]:
        return [
            "held-out rows are worse after denoising than before, and the gate will refuse that: "
            f"try {_to_try(plan)}, or noise that is as strong as that of the rows to denoise"
        ]
    if weak and weak[DENOISED] < weak[NOISY]:
        is_refused = _has_skips(plan)
        gate = "will refuse that" if is_refused else "allows that to a net with a bottleneck"
        return [
            "held-out rows with the weakest noise of the range are worse after denoising than "
            f"before, and the gate {gate}: try {_to_try(plan)}, or a narrower range"
        ]
    if FILTER in worth and worth[DENOISED] < worth[FILTER]:
        return [
            f"{facts_of(plan.kind).noise_filter} does better on the same rows: try {_to_try(plan)}"
        ]
    return []


def denoises(metrics: Mapping[str, float], plan: ModelPlan) -> bool:
    """Returns whether a pair was measured on held-out rows with noise."""
    from isthmus.core.noise_reduction import DENOISED

    return DENOISED in _found(metrics, plan)


def harms(metrics: Mapping[str, float], plan: ModelPlan) -> bool:
    """Returns whether a denoiser makes rows worse in a way that the gate refuses."""
    from isthmus.core.noise_reduction import DENOISED, NOISY

    worth, weak = (_worth(metrics, plan, weakest=each) for each in (False, True))
    is_weak_harmed = bool(weak) and weak[DENOISED] < weak[NOISY] and _has_skips(plan)
    return DENOISED in worth and (worth[DENOISED] < worth[NOISY] or is_weak_harmed)


def loses_to_pca_on_noise(metrics: Mapping[str, float], plan: ModelPlan) -> bool:
    """Returns whether PCA of the same size takes more noise from held-out rows."""
    from isthmus.core.noise_reduction import DENOISED, PCA

    worth = _worth(metrics, plan)
    return PCA in worth and worth[DENOISED] < worth[PCA]


def _has_skips(plan: ModelPlan) -> bool:
    return bool(declaration("nets", plan.net.name).value("HAS_SKIPS"))


def _worth(
    metrics: Mapping[str, float], plan: ModelPlan, *, weakest: bool = False
) -> dict[str, float]:
    """Returns the figures by what is measured, where a higher one is better."""
    from isthmus.core.noise_reduction import measure_for

    sign = 1 if measure_for(plan.kind).unit == "dB" else -1
    return {whose: sign * each for whose, each in _found(metrics, plan, weakest=weakest).items()}


def _found(
    metrics: Mapping[str, float], plan: ModelPlan, *, weakest: bool = False
) -> dict[str, float]:
    from isthmus.core.noise_reduction import measure_for  # loads torch, which this room does not

    ours = {name.removeprefix("test/"): each for name, each in metrics.items()}
    return measure_for(plan.kind).read(ours, weakest=weakest)


def _to_try(plan: ModelPlan) -> str:
    with_skips = [
        name
        for name in plugin_names("nets")
        if declaration("nets", name).value("HAS_SKIPS")
        and is_taken(plan.kind, declaration("nets", name).value("KINDS"))
    ]
    if plan.net.name in with_skips:
        return "more training.epochs, or more data"
    if with_skips:
        return f"a net that no bottleneck limits (net: {' or '.join(with_skips)})"
    return "a larger latent_dim, or more training.epochs"
