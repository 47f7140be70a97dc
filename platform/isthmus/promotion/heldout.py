"""The rows on which a challenger and the champion are compared, which neither was trained on.

They come from the samples that were stored when the two were registered, so a version is judged on
any machine, whatever became of `data.path`. The path is read only for versions without a sample:
those whose job says `data.keep_held_out: false`, and those of an older Isthmus.

Which rows a pair was trained on is told in `isthmus.promotion.seen`; those that its weights have
learned from in an earlier training count as well. Images of two bit depths meet in the units of the
challenger.

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

from isthmus.bundle.held_out import Floats, HeldOutSample
from isthmus.data.columns.units import warn_of_units
from isthmus.data.units import has_other_white, in_units_of, unlike_units
from isthmus.errors import DataError, RegistryError
from isthmus.jobs.held_out import draw_sample, most_rows
from isthmus.jobs.preparation import prepare
from isthmus.promotion.seen import Side, are_among, job_of, unseen, with_ancestors
from isthmus.registry import Pair, fetch_held_out
from isthmus.spec import JobSpec, RowSchema, Settings
from isthmus.tracking import fit_pca, is_comparable
from isthmus.tracking.store import check_reachable
from isthmus.types import Shape

# So few rows decide nothing, whatever they say.
_FEWEST_ROWS = 10


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows that neither the challenger nor the champion was trained on. Missing values are NaN.

    Attributes:
        schema: The schema of the challenger's rows, whose units these rows have.
        rows: Shape (N, *row_shape), data units.
        others: Shape (M, *row_shape), data units. Rows whose labels the job does not keep, which
            detection is to find. Empty if it keeps all labels, or there are none.
        own: The challenger's sample, which has the figures of PCA. The champion may have been
            trained on some of its rows.
        seed: The seed of the challenger's job, so that random draws on these rows can be repeated.
        remark: The remark about the rows for a reader of the verdict; may be empty.
        clean: Shape (N, *row_shape), data units. The rows without noise, where the rows have noise
            of their own.
    """

    schema: RowSchema
    rows: Floats
    others: Floats
    own: HeldOutSample
    seed: int
    remark: str = ""
    clean: Floats | None = None

    def scaled(self, rows: Floats) -> Floats:
        """Converts rows to the units of the challenger's scaling."""
        return np.asarray((rows - self.own.offset) / self.own.scale, dtype=np.float32)


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
    new, remark = with_ancestors(_side_of(challenger, job, own), settings, on_step)
    assert new.sample is not None  # noqa: S101 (it is there, or has just been read)
    own, seed, schema = new.sample, job.training.seed, new.schema
    _refuse_few_of_one(len(own.rows), challenger)
    if champion is None:
        return HeldOut(schema, own.rows, own.others, own, seed, remark, own.clean)
    theirs, why_none = _sample_of_champion(champion, settings)
    old = _side_of(champion, job_of(champion), theirs)
    old, unknown = with_ancestors(old, settings, on_step)
    remarks = [remark, why_none, unknown, _said_of_white(new, old)]
    if _shape_of(new) == _shape_of(old):
        (rows, clean), others = _shared_rows(new, old), _shared_others(new, old)
    else:
        rows, clean, others = _larger_patches(new, old)
        remarks.append(_said_of_patches(rows, new, old))
    _refuse_few_of_both(len(rows), new, old)
    return HeldOut(schema, rows, others, own, seed, "; ".join(filter(None, remarks)), clean)


def _side_of(pair: Pair, job: JobSpec, sample: HeldOutSample | None) -> Side:
    return Side(pair.reference, pair.manifest, job, sample)


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


def _shared_rows(new: Side, old: Side) -> tuple[Floats, Floats | None]:
    """Returns the rows of both samples that neither pair has seen, the challenger's first.

    Where the challenger's rows have noise of their own, the rows without it come second; rows of a
    champion that has none without noise are then left out.
    """
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    rows, clean = new.sample.rows, new.sample.clean
    is_new = unseen(rows, clean, new.sample.places, by=old, of=new)
    rows, clean = rows[is_new], None if clean is None else clean[is_new]
    if old.sample is None or not _has_normal_rows_of(new, old):
        return rows, clean
    if (clean is None) != (old.sample.clean is None):
        return rows, clean
    theirs, their_clean = _in_units_of(new, old, old.sample.rows), None
    if old.sample.clean is not None:
        their_clean = _in_units_of(new, old, old.sample.clean)
    is_unseen = unseen(old.sample.rows, old.sample.clean, old.sample.places, by=new, of=old)
    if new.job.data.missing != "mean":
        is_unseen &= ~np.isnan(theirs.reshape(len(theirs), -1)).any(axis=1)
    added = np.flatnonzero(is_unseen)[_fresh(rows, theirs[is_unseen])]
    if clean is not None and their_clean is not None:
        clean = np.concatenate([clean, their_clean[added]])
    return np.concatenate([rows, theirs[added]]), clean


def _shared_others(new: Side, old: Side) -> Floats:
    """Returns the rows of both samples that detection is to find."""
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    own = new.sample.others
    if old.job.data.keep_labels != new.job.data.keep_labels:
        return own[unseen(own, None, None, by=old, of=new)]
    if old.sample is None:
        return own
    theirs = _in_units_of(new, old, old.sample.others)
    return np.concatenate([own, theirs[_fresh(own, theirs)]])


def _larger_patches(new: Side, old: Side) -> tuple[Floats, Floats | None, Floats]:
    """Returns the held-out patches of the pair with the larger ones, their clean ones, and others.

    Where the champion's are larger but too few of them are new to the challenger, or they do not
    have what the challenger is to be judged on, they are the challenger's.
    """
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    if prod(_shape_of(old)) > prod(_shape_of(new)) and old.sample is not None:
        theirs = old.sample
        is_unseen = unseen(theirs.rows, theirs.clean, theirs.places, by=new, of=old)
        is_alike = (theirs.clean is None) == (new.sample.clean is None)
        if is_alike and _has_normal_rows_of(new, old) and is_unseen.sum() >= _FEWEST_ROWS:
            clean = None
            if theirs.clean is not None:
                clean = _in_units_of(new, old, theirs.clean[is_unseen])
            is_of_one_job = old.job.data.keep_labels == new.job.data.keep_labels
            others = theirs.others[: None if is_of_one_job else 0]
            rows = _in_units_of(new, old, theirs.rows[is_unseen])
            return rows, clean, _in_units_of(new, old, others)
    rows, clean = new.sample.rows, new.sample.clean
    is_unseen = unseen(rows, clean, new.sample.places, by=old, of=new)
    return (
        rows[is_unseen],
        None if clean is None else clean[is_unseen],
        _shared_others(new, replace(old, sample=None)),
    )


def _said_of_patches(rows: Floats, new: Side, old: Side) -> str:
    height, width = rows.shape[-2:]
    patches = " and ".join(f"{side.manifest.data.patch}" for side in (new, old))
    return f"compared on patches of {height}x{width}, for data.patch is {patches}"


def _said_of_white(new: Side, old: Side) -> str:
    if not has_other_white(new.schema, old.schema):
        return ""
    return (
        f"white is {new.schema.white:g} to {new.reference} and {old.schema.white:g} to "
        f"{old.reference}, so that the rows are scaled to the white of each"
    )


def _shape_of(side: Side) -> Shape:
    return side.manifest.plan.row_shape


def _in_units_of(new: Side, old: Side, rows: Floats) -> Floats:
    """Returns rows of the champion's in the units of the challenger's."""
    return in_units_of(rows, old.schema, new.schema)


def _fresh(rows: Floats, further: Floats) -> NDArray[np.intp]:
    """Returns the numbers of further rows that are not among the first, while there is room."""
    fresh = np.flatnonzero(~are_among(further, rows))
    room = max(0, most_rows(tuple(further.shape[1:])) - len(rows))
    if len(fresh) > room:
        fresh = fresh[np.linspace(0, len(fresh) - 1, room).astype(np.int64)]
    return fresh


def _has_normal_rows_of(new: Side, old: Side) -> bool:
    """Returns whether what was normal to the champion is normal to the challenger."""
    keep = new.job.data.keep_labels
    return keep is None or keep == old.job.data.keep_labels


def _refuse_few_of_one(own: int, pair: Pair) -> None:
    if own >= _FEWEST_ROWS:
        return
    how = "train a version on more rows, or with a larger data.test_fraction"
    if pair.manifest.started_from is not None:
        how += ", and with the training.seed and the fractions of the pair that it starts from"
    raise DataError(
        f"only {own} held-out rows, and the gate needs {_FEWEST_ROWS} to tell better from luck; "
        f"{how}"
    )


def _refuse_few_of_both(shared: int, new: Side, old: Side) -> None:
    assert new.sample is not None  # noqa: S101 (the challenger has one)
    own = len(new.sample.rows)
    if shared >= _FEWEST_ROWS:
        return
    if new.schema.centre != old.schema.centre:
        raise DataError(
            f"the values of {old.reference} are centred at other numbers, so that it "
            f"cannot be told which of the {own} held-out rows it was trained on; compare versions "
            "that were trained on data of one range"
        )
    if has_other_white(new.schema, old.schema):
        raise DataError(
            f"of the {own} held-out images only {shared} are certain to be new to {old.reference}, "
            f"whose white is {old.schema.white:g} and not {new.schema.white:g}; train a version on "
            f"images of the bit depth of {old.reference}"
        )
    if old.is_split_by_content:
        raise DataError(
            f"{old.reference} was trained with another seed or share of rows, and has "
            f"seen all but {shared} of the {own} held-out rows; train a version with "
            f"training.seed={old.job.training.seed} and the champion's data.test_fraction"
        )
    raise DataError(
        f"of the {own} held-out windows only {shared} are certain to be new to "
        f"{old.reference}, for the data of the two do not begin alike or have the same "
        "files; train a version on data that continue the champion's"
    )


def _refuse_unlike(new: Pair, old: Pair) -> None:
    shapes = [pair.manifest.plan.row_shape for pair in (new, old)]
    columns = [pair.manifest.data.feature_names for pair in (new, old)]
    takes_any_size = new.takes_any_size and old.takes_any_size and shapes[0][0] == shapes[1][0]
    if (shapes[0] != shapes[1] and not takes_any_size) or columns[0] != columns[1]:
        raise DataError(
            f"{new.reference} takes rows of shape {shapes[0]} and {old.reference} of "
            f"{shapes[1]}, or other columns, so they cannot be compared"
        )
    schemas = new.manifest.rows_taken, old.manifest.rows_taken
    for what, here, there in unlike_units(*schemas, scales_white=True):
        raise DataError(
            f"{new.reference} has {what} {_shown(here)} and {old.reference} {_shown(there)}, so "
            "that rows of the one mean another thing to the other, and they cannot be compared; "
            "train a version on data like the champion's, or under another name"
        )
    of_both = f"{new.reference}, beside {old.reference}"
    warn_of_units(schemas[0].units, schemas[1], of_both)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
