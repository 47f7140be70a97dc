"""The gate: the checks that a version must pass to become champion."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.errors import (
    CodeUnavailable,
    DataError,
    IsthmusError,
    ModelNotFound,
    RegistryError,
    SpecError,
)
from isthmus.promotion import checks
from isthmus.promotion.evidence import Evidence, Noise
from isthmus.promotion.heldout import HeldOut, find_held_out
from isthmus.promotion.intervals import Numbers
from isthmus.promotion.measures import (
    NoiseTask,
    at_weakest,
    measure,
    noise_task,
    on_own_sample,
    seconds_in_turns,
    spread_of,
)
from isthmus.promotion.seen import job_of
from isthmus.promotion.verdict import Verdict
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
    """Compares a version with the champion on held-out rows that neither was trained on.

    Args:
        name: The pair's name.
        version: The version of the challenger.
        champion: The version to compare it with; `None` if there is none.
        settings: The settings that say where the registry is.
        must_be_better: Whether the reconstruction error must be lower beyond chance, as for a
            retraining that nobody has looked at.
        on_step: A function that is called with each step.

    Returns:
        The verdict. If the held-out rows are not available, the version cannot be judged, and the
        verdict says so. A damaged champion counts as none, because otherwise it could never be
        replaced. One whose code may not run, or fails here, is whole, so there is no verdict.

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
        held_out = find_held_out(challenger, old, settings, tell)
        found = checks.run(
            _gather(challenger, old, held_out, bounds, tell, must_be_better=must_be_better)
        )
    except ModelNotFound:
        raise
    except (DataError, SpecError, CodeUnavailable) as error:
        return Verdict(reference, against, 0, (), _said(error), bounds.policy)
    except RegistryError as error:
        # An unreachable registry is not the version's fault and raises here; a damaged pair is.
        check_reachable(settings.tracking_uri)
        return Verdict(reference, against, 0, (), _said(error), bounds.policy)
    compared = against if old is not None else None
    remark = "; ".join(filter(None, (remark, held_out.remark)))
    return Verdict(reference, compared, len(held_out.rows), found, "", bounds.policy, remark)


def _gather(
    challenger: Pair,
    champion: Pair | None,
    held_out: HeldOut,
    bounds: PromotionSpec,
    tell: OnStep,
    *,
    must_be_better: bool,
) -> Evidence:
    """Measures both pairs."""
    task = noise_task(challenger, held_out.rows, held_out.clean, held_out)
    tell(f"comparing on {len(held_out.rows):,} held-out rows")
    new = measure(challenger, held_out, task)
    old = None if champion is None else measure(champion, held_out, task)
    own_errors, own_denoised = on_own_sample(challenger, held_out)
    tell("measuring latency")
    pairs = (challenger,) if champion is None else (challenger, champion)
    return Evidence(
        bounds=bounds,
        seed=held_out.seed,
        new=new,
        old=old,
        must_be_better=must_be_better,
        own_errors=own_errors,
        pca_errors=held_out.own.pca_errors,
        pca_components=held_out.own.pca_components,
        noise=None if task is None else _noise(challenger, held_out, task, own_denoised),
        spread=spread_of(held_out),
        seconds=seconds_in_turns(pairs, held_out),
        map_error=_map_error(challenger, champion),
        finds_anomalies=_finds_anomalies(challenger)
        and all(len(each.scores) for each in (new, old) if each is not None),
    )


def _noise(
    challenger: Pair, held_out: HeldOut, task: NoiseTask, own_denoised: Numbers | None
) -> Noise:
    noisy, denoised = at_weakest(challenger, held_out) or (None, None)
    return Noise(
        measure=task.measure,
        noisy=task.before,
        own_denoised=own_denoised,
        filtered=held_out.own.filtered,
        weakly_noisy=noisy,
        weakly_denoised=denoised,
    )


def _finds_anomalies(pair: Pair) -> bool:
    """Returns whether a pair's threshold is to be relied on.

    Without calibration rows, that of a pair for images of any size rests on the patches by which
    its best epoch was chosen.
    """
    data = pair.manifest.data
    return data.patch is None or data.calibration_share > 0


def _map_error(challenger: Pair, champion: Pair | None) -> float | None:
    """Returns the error of the stored map to the champion's latents; `None` if there is none."""
    maps = challenger.manifest.compatibility
    if maps is None or champion is None or maps.pair_id != champion.manifest.pair_id:
        return None
    return maps.error


def _load_if_whole(reference: str, settings: Settings) -> tuple[Pair | None, str]:
    """Loads the champion; returns `None` and a remark for the verdict if that is not possible."""
    try:
        return load(reference, settings), ""
    except ModelNotFound:
        return None, ""  # deleted, so there is nothing to compare the challenger with
    except CodeUnavailable:
        raise  # else a worse version would win for want of a rival
    except RegistryError as error:
        check_reachable(settings.tracking_uri)
        return None, f"the champion counts as none, for it cannot be loaded: {_said(error)}"


def _said(error: IsthmusError) -> str:
    return "; ".join(str(error).splitlines())


def _ignore(step: str) -> None:
    """Does nothing; used if the caller does not want to know the steps."""
