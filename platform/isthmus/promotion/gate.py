"""The gate: the checks that a version must pass to become champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.errors import DataError, IsthmusError, ModelNotFound, RegistryError, SpecError
from isthmus.promotion.checks import (
    check_calibration,
    check_compatibility,
    check_denoising,
    check_detection,
    check_error,
    check_latency,
    check_pca,
    check_scores,
    check_size,
    check_variance,
)
from isthmus.promotion.heldout import HeldOut, job_of, read_held_out
from isthmus.promotion.measures import (
    Measured,
    errors_of,
    measure,
    pca_errors,
    seconds_in_turns,
    with_noise,
)
from isthmus.promotion.verdict import Check, Verdict
from isthmus.registry import Pair, load
from isthmus.spec import PromotionSpec, Settings
from isthmus.tracking.store import check_reachable

OnStep = Callable[[str], None]
"""A function that is called with a description of the gate's next step."""


def judge(
    name: str,
    version: int,
    champion: int | None,
    settings: Settings,
    *,
    must_be_better: bool = False,
    on_step: OnStep | None = None,
) -> Verdict:
    """Compares a version with the champion on the challenger's held-out rows.

    Args:
        name: The pair's name.
        version: The version of the challenger.
        champion: The version to compare it with; `None` if there is none.
        settings: The settings that say where the registry is.
        must_be_better: Whether the reconstruction error must be lower beyond chance, as for a
            retraining that nobody has looked at.
        on_step: A function that is called with each step.

    Returns:
        The verdict. If the data are no longer available, the version cannot be judged, and the
        verdict says so. A damaged champion counts as none, because otherwise it could never be
        replaced.

    Raises:
        ModelNotFound: If there is no such version.
        RegistryError: If the registry does not answer.
    """
    tell = on_step or _ignore
    tell(f"loading {name}/{version}")
    reference = f"{name}/{version}"
    against = None if champion in (None, version) else f"{name}/{champion}"
    bounds = PromotionSpec()
    try:
        challenger = load(reference, settings)
        bounds = job_of(challenger).promotion
        old, remark = (None, "") if against is None else _load_if_whole(against, settings)
        held_out = read_held_out(challenger, old, tell)
        checks = _checks(challenger, old, held_out, bounds, tell, must_be_better=must_be_better)
    except ModelNotFound:
        raise
    except (DataError, SpecError) as error:
        return Verdict(reference, against, 0, (), _said(error), bounds.policy)
    except RegistryError as error:
        # An unreachable registry is not the version's fault and raises here; a damaged pair is.
        check_reachable(settings.tracking_uri)
        return Verdict(reference, against, 0, (), _said(error), bounds.policy)
    found = against if old is not None else None
    return Verdict(reference, found, len(held_out.rows), checks, "", bounds.policy, remark)


def _checks(
    challenger: Pair,
    champion: Pair | None,
    held_out: HeldOut,
    bounds: PromotionSpec,
    tell: OnStep,
    *,
    must_be_better: bool,
) -> tuple[Check, ...]:
    noisy = with_noise(challenger, held_out)
    tell(f"comparing on {len(held_out.rows):,} held-out rows")
    new = measure(challenger, held_out, noisy)
    old = None if champion is None else measure(champion, held_out, noisy)
    pairs = (challenger,) if champion is None else (challenger, champion)
    seed, checks = held_out.seed, list[Check]()
    if old is not None:
        checks.append(check_error(new, old, bounds, seed, must_be_better=must_be_better))
    components = len(held_out.pca.components)
    checks.append(check_pca(new, pca_errors(held_out), components, bounds, seed))
    checks.append(check_scores(new))
    checks += _task(new, old, held_out, noisy, bounds)
    checks += check_calibration(new, old, bounds, seed)
    tell("measuring latency")
    checks.append(check_latency(seconds_in_turns(pairs, held_out), bounds))
    checks.append(check_size(new, old, bounds))
    if bounds.max_compatibility_error is not None and champion is not None:
        maps, to = challenger.manifest.compatibility, champion.manifest.pair_id
        error = maps.error if maps is not None and maps.pair_id == to else None
        checks.append(check_compatibility(error, bounds.max_compatibility_error))
    return tuple(checks)


def _task(
    new: Measured, old: Measured | None, held_out: HeldOut, noisy: Any, bounds: PromotionSpec
) -> list[Check]:
    """Returns the checks of the job's task: detection, denoising, both, or explained variance."""
    checks = []
    if len(held_out.others):
        checks.append(check_detection(new, old, bounds, held_out.seed))
    if noisy is not None:
        noise = errors_of(noisy, held_out)
        checks.append(check_denoising(new, old, noise, bounds, held_out.seed))
    if not checks:
        mean = np.nanmean(held_out.rows, axis=0, dtype=np.float64).astype(np.float32)
        spread = errors_of(np.broadcast_to(mean, held_out.rows.shape), held_out)
        checks.append(check_variance(new, old, spread, bounds, held_out.seed))
    return checks


def _load_if_whole(reference: str, settings: Settings) -> tuple[Pair | None, str]:
    """Loads the champion; returns `None` and a remark for the verdict if that is not possible."""
    try:
        return load(reference, settings), ""
    except ModelNotFound:
        return None, ""  # deleted, so there is nothing to compare the challenger with
    except RegistryError as error:
        check_reachable(settings.tracking_uri)
        return None, f"the champion counts as none, for it cannot be loaded: {_said(error)}"


def _said(error: IsthmusError) -> str:
    return "; ".join(str(error).splitlines())


def _ignore(step: str) -> None:
    """Does nothing; used if the caller does not want to know the steps."""
