"""The rows on which a challenger and the champion are compared, which neither was trained on.

They come from the samples that were stored when the two were registered, so a version is judged on
any machine, whatever became of `data.path`. The path is read only for versions without a sample:
those whose job says `data.keep_held_out: false`, and those of an older Isthmus.

Which rows a pair was trained on follows, for tables and images, from each row's content and the
pair's seed; from that of its clean version, where the pair was trained with `data.clean_path`.
Windows of a series, or of one sound, are compared by time, if both signals begin with the same
window; those of many sounds by the name of the file. Where nothing tells it, only rows that both
samples hold are used.

Two pairs for images of any size may have been trained on patches of different sizes. They meet on
the larger ones, where both see as much of an image around each pixel as they have learned to use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Floats, HeldOutSample, Places
from isthmus.data.columns.units import warn_of_units
from isthmus.data.prepared.centring import recentred
from isthmus.data.prepared.splits import hash_rows, split_block
from isthmus.errors import DataError, RegistryError
from isthmus.jobs.held_out import draw_sample, most_rows
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.kinds import facts_of
from isthmus.registry import Pair, fetch_held_out
from isthmus.spec import JobSpec, Settings
from isthmus.tracking import fit_pca, is_comparable
from isthmus.tracking.store import check_reachable
from isthmus.types import Shape

# So few rows decide nothing, whatever they say.
_FEWEST_ROWS = 10
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows that neither the challenger nor the champion was trained on. Missing values are NaN.

    Attributes:
        rows: Shape (N, *row_shape), data units.
        others: Shape (M, *row_shape), data units. Rows whose labels the job does not keep, which
            detection is to find. Empty if it keeps all labels, or there are none.
        own: The challenger's sample, which has the figures of PCA. The champion may have been
            trained on some of its rows.
        seed: The seed of the challenger's job, so that random draws on these rows can be repeated.
        remark: The remark about the rows for a reader of the verdict; may be empty.
        centre: The value that the challenger's source subtracts from each feature; the rows are
            without it.
        clean: Shape (N, *row_shape), data units. The rows without noise, where the rows have noise
            of their own.
    """

    rows: Floats
    others: Floats
    own: HeldOutSample
    seed: int
    remark: str = ""
    centre: tuple[float, ...] | None = None
    clean: Floats | None = None

    def scaled(self, rows: Floats) -> Floats:
        """Converts rows to the units of the challenger's scaling."""
        return np.asarray((rows - self.own.offset) / self.own.scale, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two pairs, with its job and, if there is one, its sample."""

    pair: Pair
    job: JobSpec
    sample: HeldOutSample | None

    @property
    def split(self) -> tuple[object, ...]:
        """The values that determine the split; the fingerprint covers the windows themselves."""
        manifest = self.pair.manifest
        data = manifest.data
        fractions = (data.validation_fraction, data.calibration_share, data.test_fraction)
        return (manifest.fingerprint, self.job.training.seed, *fractions)


def job_of(pair: Pair) -> JobSpec:
    """Returns the job that a pair was trained by, as its job file was then.

    Raises:
        SpecError: If this Isthmus no longer knows the job's options.
    """
    # Its plugins are there, as it is built. Files are not run because a registry names them.
    return check_job({**pair.manifest.spec, "plugins": ()})


def find_held_out(
    challenger: Pair, champion: Pair | None, settings: Settings, on_step: Callable[[str], None]
) -> HeldOut:
    """Finds the held-out rows that neither pair has seen, of the samples of both.

    Args:
        challenger: The pair to be judged.
        champion: The pair to compare it with, if there is one.
        settings: The settings that say where the samples are.
        on_step: A function that is called with each step.

    Raises:
        DataError: If the data have to be read again, but cannot be, or have changed since the
            training; if there are too few rows; or if the two pairs do not take the same rows.
        RegistryError: If the challenger's sample is missing or damaged.
        SpecError: If this Isthmus cannot read the job.
    """
    job = job_of(challenger)
    if champion is not None:
        _refuse_unlike(challenger, champion)
    on_step(f"fetching the held-out rows of {challenger.reference}")
    own = fetch_held_out(challenger.manifest, settings)
    if own is None:
        on_step(f"reading {job.data.shown_path}")
        own = _read_again(challenger, job)
    seed = job.training.seed
    if champion is None:
        _refuse_few(len(own.rows))
        centre = _centre_of(challenger)
        return HeldOut(own.rows, own.others, own, seed, centre=centre, clean=own.clean)
    theirs, remark = _sample_of_champion(champion, settings)
    new, old = _Side(challenger, job, own), _Side(champion, job_of(champion), theirs)
    if _shape_of(challenger) == _shape_of(champion):
        (rows, clean), others = _shared_rows(new, old), _shared_others(new, old)
    else:
        rows, clean, others = _larger_patches(new, old)
        remark = "; ".join(filter(None, (remark, _said_of_patches(rows, new, old))))
    is_centred_alike = _centre_of(challenger) == _centre_of(champion)
    _refuse_few(len(own.rows), len(rows), old, is_centred_alike=is_centred_alike)
    return HeldOut(rows, others, own, seed, remark, _centre_of(challenger), clean)


def _read_again(pair: Pair, job: JobSpec) -> HeldOutSample:
    """Draws the sample of a version that has none stored, from the data that it was trained on."""
    with closing(prepare(job)) as prepared:
        if prepared.fingerprint != pair.manifest.fingerprint:
            raise DataError(
                f"{job.data.shown_path} has changed since {pair.reference} was trained on it; "
                "train a version on the data of today"
            )
        size = pair.module.code_size
        has_pca = is_comparable(size, pair.manifest.plan.row_shape)
        pca = fit_pca(prepared.first_view, size) if has_pca else None
        return draw_sample(prepared, pca, pair.module)


def _sample_of_champion(champion: Pair, settings: Settings) -> tuple[HeldOutSample | None, str]:
    """Returns the champion's sample, or a remark that says why it gives no rows."""
    try:
        return fetch_held_out(champion.manifest, settings), ""
    except RegistryError as error:
        check_reachable(settings.tracking_uri)
        return None, f"rows of the challenger's alone, for {error}"


def _shared_rows(new: _Side, old: _Side) -> tuple[Floats, Floats | None]:
    """Returns the rows of both samples that neither pair has seen, the challenger's first.

    Where the challenger's rows have noise of their own, the rows without it come second; rows of a
    champion that has none without noise are then left out.
    """
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    rows, clean = new.sample.rows, new.sample.clean
    is_new = _unseen(rows, clean, new.sample.places, by=old, of=new)
    rows, clean = rows[is_new], None if clean is None else clean[is_new]
    if old.sample is None or not _has_normal_rows_of(new, old):
        return rows, clean
    if (clean is None) != (old.sample.clean is None):
        return rows, clean
    centres = _centre_of(old.pair), _centre_of(new.pair)
    theirs = recentred(old.sample.rows, *centres)
    their_clean = None if old.sample.clean is None else recentred(old.sample.clean, *centres)
    is_unseen = _unseen(theirs, their_clean, old.sample.places, by=new, of=old)
    if new.job.data.missing != "mean":
        is_unseen &= ~np.isnan(theirs.reshape(len(theirs), -1)).any(axis=1)
    added = np.flatnonzero(is_unseen)[_fresh(rows, theirs[is_unseen])]
    if clean is not None and their_clean is not None:
        clean = np.concatenate([clean, their_clean[added]])
    return np.concatenate([rows, theirs[added]]), clean


def _shared_others(new: _Side, old: _Side) -> Floats:
    """Returns the rows of both samples that detection is to find."""
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    own = new.sample.others
    if old.job.data.keep_labels != new.job.data.keep_labels:
        return own[_unseen(own, None, None, by=old, of=new)]
    if old.sample is None:
        return own
    theirs = recentred(old.sample.others, _centre_of(old.pair), _centre_of(new.pair))
    return np.concatenate([own, theirs[_fresh(own, theirs)]])


def _larger_patches(new: _Side, old: _Side) -> tuple[Floats, Floats | None, Floats]:
    """Returns the held-out patches of the pair with the larger ones, their clean ones, and others.

    Where the champion's are larger but too few of them are new to the challenger, or they do not
    have what the challenger is to be judged on, they are the challenger's.
    """
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    if prod(_shape_of(old.pair)) > prod(_shape_of(new.pair)) and old.sample is not None:
        theirs = old.sample
        is_unseen = _unseen(theirs.rows, theirs.clean, theirs.places, by=new, of=old)
        is_alike = (theirs.clean is None) == (new.sample.clean is None)
        if is_alike and _has_normal_rows_of(new, old) and is_unseen.sum() >= _FEWEST_ROWS:
            clean = None if theirs.clean is None else theirs.clean[is_unseen]
            is_of_one_job = old.job.data.keep_labels == new.job.data.keep_labels
            return theirs.rows[is_unseen], clean, theirs.others[: None if is_of_one_job else 0]
    rows, clean = new.sample.rows, new.sample.clean
    is_unseen = _unseen(rows, clean, new.sample.places, by=old, of=new)
    return (
        rows[is_unseen],
        None if clean is None else clean[is_unseen],
        _shared_others(new, replace(old, sample=None)),
    )


def _said_of_patches(rows: Floats, new: _Side, old: _Side) -> str:
    height, width = rows.shape[-2:]
    patches = " and ".join(f"{side.pair.manifest.data.patch}" for side in (new, old))
    return f"compared on patches of {height}x{width}, for data.patch is {patches}"


def _shape_of(pair: Pair) -> Shape:
    return pair.manifest.plan.row_shape


def _centre_of(pair: Pair) -> tuple[float, ...] | None:
    return pair.manifest.rows_taken.centre


def _fresh(rows: Floats, further: Floats) -> NDArray[np.intp]:
    """Returns the numbers of further rows that are not among the first, while there is room."""
    fresh = np.flatnonzero(~_are_among(further, rows))
    room = max(0, most_rows(tuple(further.shape[1:])) - len(rows))
    if len(fresh) > room:
        fresh = fresh[np.linspace(0, len(fresh) - 1, room).astype(np.int64)]
    return fresh


def _has_normal_rows_of(new: _Side, old: _Side) -> bool:
    """Returns whether what was normal to the champion is normal to the challenger."""
    keep = new.job.data.keep_labels
    return keep is None or keep == old.job.data.keep_labels


def _unseen(
    rows: Floats, clean: Floats | None, places: Places | None, *, by: _Side, of: _Side
) -> Mask:
    """Returns for each held-out row of one pair whether the other was certainly not trained on it.

    Args:
        rows: The rows.
        clean: Their clean versions, if they have noise of their own.
        places: The positions of the rows, for windows of series and sounds and for patches.
        by: The other pair.
        of: The pair that the rows are held out by.
    """
    data = by.pair.manifest.data
    # Patches go by the content of their whole images, which their places tell.
    is_by_content = _is_split_by_content(by.pair) and data.patch is None
    views = [clean] if data.clean_path is not None else [rows, clean]
    contents = [view for view in views if view is not None]
    if is_by_content and contents and _centre_of(by.pair) == _centre_of(of.pair):
        unseen = np.ones(len(rows), dtype=bool)
        for view in contents:
            unseen[split_block(view, data, by.job.training.seed)["train"]] = False
        return unseen
    theirs = None if by.sample is None else by.sample.places
    is_split_alike = places is None or theirs is None or places.by == theirs.by
    if by.split == of.split and is_split_alike and not is_by_content:
        return np.ones(len(rows), dtype=bool)
    if by.sample is None:
        return np.zeros(len(rows), dtype=bool)
    held_out_too = _are_among(rows, by.sample.rows)
    if by.sample.clean is not None:
        held_out_too |= _are_among(rows, by.sample.clean)
    if places is not None and theirs is not None:
        held_out_too |= places.unseen_by(theirs)
    return held_out_too


def _is_split_by_content(pair: Pair) -> bool:
    return facts_of(pair.manifest.plan.kind).split_by == "content"


def _are_among(rows: Floats, others: Floats) -> Mask:
    """Returns for each row whether one of the others has the same content."""
    if not len(rows) or not len(others):
        return np.zeros(len(rows), dtype=bool)
    return np.isin(hash_rows(rows, 0), hash_rows(others, 0))


def _refuse_few(
    own: int,
    shared: int | None = None,
    champion: _Side | None = None,
    *,
    is_centred_alike: bool = True,
) -> None:
    if own < _FEWEST_ROWS:
        raise DataError(
            f"only {own} held-out rows, and the gate needs {_FEWEST_ROWS} to tell better "
            "from luck; train a version on more rows, or with a larger data.test_fraction"
        )
    if shared is None or champion is None or shared >= _FEWEST_ROWS:
        return
    if not is_centred_alike:
        raise DataError(
            f"the values of {champion.pair.reference} are centred at other numbers, so that it "
            f"cannot be told which of the {own} held-out rows it was trained on; compare versions "
            "that were trained on data of one range"
        )
    if _is_split_by_content(champion.pair):
        raise DataError(
            f"{champion.pair.reference} was trained with another seed or share of rows, and has "
            f"seen all but {shared} of the {own} held-out rows; train a version with "
            f"training.seed={champion.job.training.seed} and the champion's data.test_fraction"
        )
    raise DataError(
        f"of the {own} held-out windows only {shared} are certain to be new to "
        f"{champion.pair.reference}, for the data of the two do not begin alike or have the same "
        "files; train a version on data that continue the champion's"
    )


def _refuse_unlike(new: Pair, old: Pair) -> None:
    shapes = [_shape_of(pair) for pair in (new, old)]
    columns = [pair.manifest.data.feature_names for pair in (new, old)]
    takes_any_size = new.takes_any_size and old.takes_any_size and shapes[0][0] == shapes[1][0]
    if (shapes[0] != shapes[1] and not takes_any_size) or columns[0] != columns[1]:
        raise DataError(
            f"{new.reference} takes rows of shape {shapes[0]} and {old.reference} of "
            f"{shapes[1]}, or other columns, so they cannot be compared"
        )
    of_both = f"{new.reference}, beside {old.reference}"
    warn_of_units(new.manifest.rows_taken.units, old.manifest.rows_taken, of_both)
