"""The held-out rows that neither a pair was trained on, nor one whose weights it started with.

For tables and images this follows from each row's content and the pair's seed; from the content of
its clean version, where the pair was trained with `data.clean_path`. Windows of a series, or of one
sound, are compared by time, if both signals begin with the same window; those of many sounds by the
name of the file. Where nothing tells it, rows that both samples hold are certain to be new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Floats, HeldOutSample, Places
from isthmus.bundle.manifest import PairManifest
from isthmus.data.prepared.splits import hash_rows, split_block
from isthmus.data.units import has_other_white, in_units_of
from isthmus.errors import ModelNotFound, RegistryError, SpecError
from isthmus.jobs.specs import check_job
from isthmus.kinds import facts_of
from isthmus.registry import Pair, ResolvedPair, fetch_held_out, name_of_pair, resolve
from isthmus.spec import JobSpec, RowSchema, Settings
from isthmus.tracking.store import check_reachable

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Side:
    """A pair that the gate looks at, with its job and, if there is one, its sample.

    Attributes:
        reference: The pair's name and version.
        manifest: The pair's manifest.
        job: The job that it was trained by.
        sample: The sample of its held-out rows.
        ancestors: The pairs whose weights its training started with: the one that it started from,
            the one that this started from, and so on.
    """

    reference: str
    manifest: PairManifest
    job: JobSpec
    sample: HeldOutSample | None
    ancestors: tuple[Side, ...] = ()

    @property
    def schema(self) -> RowSchema:
        """The schema of the rows that the pair takes."""
        return self.manifest.rows_taken

    @property
    def is_split_by_content(self) -> bool:
        """Whether the content of a row tells if the pair was trained on it."""
        return facts_of(self.manifest.plan.kind).split_by == "content"

    @property
    def split(self) -> tuple[object, ...]:
        """The values that determine the split; the fingerprint covers the windows themselves."""
        data = self.manifest.data
        fractions = (data.validation_fraction, data.calibration_share, data.test_fraction)
        return (self.manifest.fingerprint, self.job.training.seed, *fractions)


def job_of(pair: Pair | ResolvedPair) -> JobSpec:
    """Returns the job that a pair was trained by, as its job file was then.

    Raises:
        SpecError: If this Isthmus no longer knows the job's options.
    """
    # Its plugins are there, as it is built. Files are not run because a registry names them.
    return check_job({**pair.manifest.spec, "plugins": ()})


def unseen(
    rows: Floats, clean: Floats | None, places: Places | None, *, by: Side, of: Side
) -> Mask:
    """Returns for each held-out row of one pair whether the other was certainly not trained on it.

    Args:
        rows: The rows, in the units of the pair that they are held out by.
        clean: Their clean versions, if they have noise of their own.
        places: The positions of the rows, for windows of series and sounds and for patches.
        by: The other pair.
        of: The pair that the rows are held out by.
    """
    found = _told(rows, clean, places, by=by, of=of)
    if found is None:
        found = _is_held_out_by(by, of, rows)
    for ancestor in by.ancestors:
        if _shares_data(ancestor, of):
            told = _told(rows, clean, places, by=ancestor, of=of)
            found = found if told is None else found & told
    return found


def with_ancestors(
    side: Side, settings: Settings, on_step: Callable[[str], None]
) -> tuple[Side, str]:
    """Finds the pairs that a pair's weights come from, and leaves out the rows that these know.

    A pair that training starts from may have been trained on rows that are held out now, if the two
    were split otherwise; so may the pair that it started from in its turn.

    Args:
        side: The pair.
        settings: The settings that say where the registry is.
        on_step: A function that is called with each step.

    Returns:
        The pair with its ancestors, and the rows of its sample that none of them was trained on;
        and a remark if that is not known of one, else an empty one.
    """
    found: list[Side] = []
    unknown = []
    manifest, known = side.manifest, {side.manifest.pair_id}
    if manifest.started_from is not None:
        on_step(f"looking up the rows that {side.reference} has learned from before")
    while manifest.started_from is not None and manifest.started_from not in known:
        known.add(manifest.started_from)
        ancestor = _ancestor(manifest.started_from, settings)
        if ancestor is None:
            unknown.append(f"pair {manifest.started_from}")
            break
        side, is_told = _without_rows_of(ancestor, side)
        if not is_told:
            unknown.append(ancestor.reference)
        found.append(ancestor)
        manifest = ancestor.manifest
    remark = (
        f"it is not known which of the rows {' and '.join(unknown)} was trained on, whose weights "
        f"{side.reference} comes from, so some may count as held out that it has learned from"
    )
    return replace(side, ancestors=tuple(found)), remark if unknown else ""


def are_among(rows: Floats, others: Floats) -> Mask:
    """Returns for each row whether one of the others has the same content."""
    if not len(rows) or not len(others):
        return np.zeros(len(rows), dtype=bool)
    return np.isin(hash_rows(rows, 0), hash_rows(others, 0))


def _told(
    rows: Floats, clean: Floats | None, places: Places | None, *, by: Side, of: Side
) -> Mask | None:
    """Returns which rows a pair was not trained on; `None` if neither split nor places tell it."""
    data = by.manifest.data
    # Patches go by the content of their whole images, which their places tell.
    is_by_content = by.is_split_by_content and data.patch is None
    views = [clean] if data.clean_path is not None else [rows, clean]
    contents = _as_read_by(by, of, [view for view in views if view is not None])
    if is_by_content and contents:
        found = np.ones(len(rows), dtype=bool)
        for view in contents:
            found[split_block(view, data, by.job.training.seed)["train"]] = False
        return found
    theirs = None if by.sample is None else by.sample.places
    is_split_alike = places is None or theirs is None or places.by == theirs.by
    if by.split == of.split and is_split_alike and not is_by_content:
        return np.ones(len(rows), dtype=bool)
    if by.sample is None or places is None or theirs is None or not places.are_told_by(theirs):
        return None
    # Images of another depth have other hashes, wherever they are.
    if has_other_white(by.schema, of.schema):
        return None
    return places.unseen_by(theirs) | _is_held_out_by(by, of, rows)


def _is_held_out_by(by: Side, of: Side, rows: Floats) -> Mask:
    """Returns for each row of one pair whether the other's sample holds it as well."""
    found = np.zeros(len(rows), dtype=bool)
    for held_out in () if by.sample is None else (by.sample.rows, by.sample.clean):
        if held_out is not None:
            theirs = in_units_of(held_out, by.schema, of.schema)
            # Pixels of fewer bits are those of more bits, rounded.
            theirs = np.rint(theirs) if has_other_white(by.schema, of.schema) else theirs
            found |= are_among(rows, theirs)
    return found


def _as_read_by(by: Side, of: Side, views: Sequence[Floats]) -> list[Floats]:
    """Returns rows as the other pair read them, so that they have the same content; else none."""
    if by.schema.centre != of.schema.centre:
        return []
    if not has_other_white(by.schema, of.schema):
        return list(views)
    is_whole = all(np.array_equal(view, np.rint(view)) for view in views)
    # Finer pixels cannot be told from coarser ones, and resized ones are no whole numbers.
    if not is_whole or (by.schema.white or 0) > (of.schema.white or 0):
        return []
    return [np.rint(in_units_of(view, of.schema, by.schema)) for view in views]


def _ancestor(pair_id: str, settings: Settings) -> Side | None:
    """Returns a pair that another started from; `None` if it was deleted or is damaged."""
    try:
        found = resolve(name_of_pair(pair_id, settings), settings)
        side = Side(found.reference, found.manifest, job_of(found), None)
        if side.is_split_by_content and found.manifest.data.patch is None:
            return side  # its split alone tells what it learned from
        return replace(side, sample=fetch_held_out(found.manifest, settings))
    except (ModelNotFound, RegistryError, SpecError):
        check_reachable(settings.tracking_uri)
        return None


def _shares_data(ancestor: Side, side: Side) -> bool:
    """Returns whether an ancestor read the same data as a pair, or an earlier state of them.

    Its split says nothing of rows that it never had, such as those of next month's file.
    """
    is_same_path = ancestor.job.data.path == side.job.data.path
    return is_same_path or ancestor.manifest.fingerprint == side.manifest.fingerprint


def _without_rows_of(ancestor: Side, side: Side) -> tuple[Side, bool]:
    """Returns a pair without held-out rows that an ancestor learned from, and if that is told."""
    sample = side.sample
    if sample is None:
        return side, True
    if not _shares_data(ancestor, side):
        return side, False
    told = _told(sample.rows, sample.clean, sample.places, by=ancestor, of=side)
    if told is None:
        return side, False
    others = np.ones(len(sample.others), dtype=bool)
    if len(others) and ancestor.job.data.keep_labels != side.job.data.keep_labels:
        of_others = _told(sample.others, None, None, by=ancestor, of=side)
        others = others if of_others is None else of_others
    return replace(side, sample=sample.take(told, others)), True
