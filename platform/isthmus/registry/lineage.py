"""Lineage in both directions between data, runs, registered pairs and the files made with them.

The links are: a run's fingerprint of its data, a version's run, the pair's id in `pair.json` and in
every output, and MLflow's record of each output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.data import Provenance, content_sha256, local_output, read_provenance
from isthmus.errors import DataError, ModelNotFound, UsageError
from isthmus.registry import tags
from isthmus.registry.lookup import find_encoder, open_registry
from isthmus.registry.reference import Reference
from isthmus.spec import Settings
from isthmus.tracking import (
    DeletedPair,
    OutputRecord,
    RunSummary,
    find_outputs,
    find_run,
    run_of_deleted,
    runs_of_data,
    runs_started_from,
    store_errors,
    summary_of_run,
    this_host,
)
from isthmus.tracking.store import is_empty_store, shown

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# The runs in one search for versions, limited because a URL has a maximum length.
_RUNS_AT_ONCE = 50


@dataclass(frozen=True)
class LinkedOutput:
    """A file or folder of results.

    Attributes:
        record: MLflow's record of the output; if it was not recorded, what the output says of
            itself.
        state: `as written`, `changed since`, `not there`, `elsewhere` (on another machine), or `not
            recorded`.
        found: The output's present path, if the lineage of this output was asked for and it was
            moved.
    """

    record: OutputRecord
    state: str
    found: str | None = None


@dataclass(frozen=True)
class LinkedPair:
    """A registered pair and the outputs that were made with it.

    Attributes:
        names: The pair's name and version; more than one if it was copied in MLflow's UI.
        pair_id: The pair's id.
        created: The time of its registration.
        outputs: The outputs, newest first.
        deleted: The person who deleted the pair, and the time; `None` if it is registered still.
        successors: The names of the pairs whose training started with this one's weights, newest
            run first.
    """

    names: tuple[str, ...]
    pair_id: str
    created: datetime | None
    outputs: tuple[LinkedOutput, ...]
    deleted: DeletedPair | None = None
    successors: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkedRun:
    """A training run and the pairs that it registered.

    Attributes:
        run: The run.
        pairs: The pairs.
        is_start_deleted: Whether the pair that training started from was deleted since.
    """

    run: RunSummary
    pairs: tuple[LinkedPair, ...]
    is_start_deleted: bool = False


@dataclass(frozen=True)
class Lineage:
    """The data behind an object, and everything that was made from the data.

    Attributes:
        asked: The object that was asked for: a fingerprint, a run's id, a pair's id, or an output's
            path.
        fingerprint: The sha256 of the data; `None` if this store does not know it.
        data: The path that the data were read from.
        runs: All runs on these data, newest first.
        loose: The pair that was asked for, if this store does not know its run.
    """

    asked: str
    fingerprint: str | None
    data: str
    runs: tuple[LinkedRun, ...]
    loose: LinkedPair | None = None


def lineage(what: str, settings: Settings) -> Lineage:
    """Traces an object back to its data, and from there to everything made from the data.

    Args:
        what: A file or folder of results (local or `s3://`), `NAME/VERSION`, `NAME@ALIAS`, a run's
            id, the beginning of the id or its name, or a data fingerprint.
        settings: The settings that say where the stores are.

    Raises:
        UsageError: If nothing has that name, or the file names no pair and is not recorded.
        RegistryError: If the store cannot be reached.
    """
    if what.startswith("s3://") or Path(what).exists():
        return _of_output(what, settings)
    if _FINGERPRINT.fullmatch(what):
        return _of_data(what, what, settings)
    if "@" in what or re.fullmatch(r"[^/]+/[0-9]+", what):
        return _of_pair(what, settings)
    if "/" in what or Path(what).suffix:
        raise UsageError(f"{what}: no such file, and neither a run nor NAME/VERSION")
    if is_empty_store(settings):
        raise UsageError(
            f'neither a run nor a pair "{what}", as nothing was trained in '
            f"{shown(settings.tracking_uri)} yet; if it is in another store, set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        run = find_run(what, settings)
    except UsageError as no_run:
        try:
            return _of_pair(what, settings)
        except ModelNotFound as no_pair:
            raise UsageError(f"{no_run}; as a pair: {no_pair}") from None
    if run.fingerprint is None:
        raise UsageError(f"run {run.name} ended before its data were read; nothing came of it")
    return _of_data(run.run_id, run.fingerprint, settings)


def _of_pair(reference: str, settings: Settings) -> Lineage:
    client = open_registry(settings)
    try:
        with store_errors(settings.tracking_uri):
            version = find_encoder(client, Reference.parse(reference))
    except ModelNotFound:
        run_id = run_of_deleted(reference, settings)
        run = summary_of_run(run_id, settings) if run_id else None
        if run is None or run.fingerprint is None:
            raise
        (pair_id,) = (each.pair_id for each in run.deleted if each.name == reference)
        return _of_data(pair_id, run.fingerprint, settings)
    pair_id = version.tags.get(tags.PAIR_ID, "")
    run = summary_of_run(version.run_id or "", settings)
    if run is None or run.fingerprint is None:
        outputs = find_outputs(settings, pair_ids=[pair_id])
        loose = _linked_pair(
            pair_id, [version], outputs, successors_of(client, [pair_id], settings)
        )
        return Lineage(pair_id, None, "", (), loose)
    return _of_data(pair_id, run.fingerprint, settings)


def _of_output(what: str, settings: Settings) -> Lineage:
    try:
        path = local_output(what).absolute()
        said, sha256 = read_provenance(path), content_sha256(path)
    except OSError as error:
        raise DataError(f"{what}: cannot be read: {error.strerror or error}") from error
    found = [
        record
        for record in find_outputs(settings, sha256=sha256)
        if said is None or record.pair_id == said.pair_id  # two pairs may make equal outputs
    ]
    if said is None and not found:
        raise UsageError(
            f"{what}: names no pair, and no output of its content (sha256 {sha256[:12]}...) is "
            "recorded; it was not written by isthmus, or was changed and has lost its .pair.json"
        )
    record = _likest(found or _record_of(said, settings), path)
    place = what if what.startswith("s3://") else str(path)
    if record is not None:
        state = "as written" if record.sha256 == sha256 else "changed since"
        moved = place if place != record.path else None
        output = LinkedOutput(record, state, moved)
    else:
        assert said is not None  # noqa: S101 (otherwise it raised above)
        output = LinkedOutput(_self_said(said, place, sha256), "not recorded")
    return _with_output(output, settings)


def _record_of(said: Provenance | None, settings: Settings) -> Sequence[OutputRecord]:
    """Returns the records of an output with changed content, by its pair, time and input."""
    if said is None:
        return []
    source = str(said.extra.get("input", "")).removeprefix("./")
    return [
        each
        for each in find_outputs(settings, pair_ids=[said.pair_id])
        if each.created == said.created and each.source.endswith(source)
    ]


def _likest(records: Sequence[OutputRecord], path: Path) -> OutputRecord | None:
    """Returns the record that fits a path best, by path, file name or suffix.

    Several outputs may have the same content, or be from the same second.
    """

    def likeness(record: OutputRecord) -> tuple[bool, bool, bool]:
        recorded = Path(record.path)
        return recorded == path, recorded.name == path.name, recorded.suffix == path.suffix

    return max(records, key=likeness, default=None)


def _self_said(said: Provenance, path: str, sha256: str) -> OutputRecord:
    return OutputRecord(
        job=str(said.extra.get("job", "")),
        path=path,
        host=this_host(),
        sha256=sha256,
        source=str(said.extra.get("input", "")),
        rows=0,
        pair_id=said.pair_id,
        model=said.model,
        created=said.created,
    )


def _with_output(output: LinkedOutput, settings: Settings) -> Lineage:
    """Returns the lineage of the pair that an output names, with that output in it."""
    record = output.record
    try:
        whole = _of_pair(record.model, settings)
    except ModelNotFound:
        whole = None
    if whole is None or whole.asked != record.pair_id:  # deleted, or in another registry
        loose = LinkedPair((), record.pair_id, None, (output,))
        return Lineage(record.path, None, "", (), loose)

    def put(pair: LinkedPair) -> LinkedPair:
        if pair.pair_id != record.pair_id:
            return pair
        others = tuple(each for each in pair.outputs if each.record != record)
        return replace(pair, outputs=(output, *others))

    runs = tuple(replace(each, pairs=tuple(map(put, each.pairs))) for each in whole.runs)
    alone = put(whole.loose) if whole.loose else None
    return Lineage(record.path, whole.fingerprint, whole.data, runs, alone)


def _of_data(asked: str, fingerprint: str, settings: Settings) -> Lineage:
    """Returns everything that was made from the data with a fingerprint."""
    runs = runs_of_data(fingerprint, settings)
    if not runs:
        raise UsageError(f"no run was trained on data of fingerprint {fingerprint}")
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        versions = list(_encoders_of(client, [run.run_id for run in runs]))
    pair_ids = {version.tags[tags.PAIR_ID]: version.run_id for version in versions}
    outputs = find_outputs(settings, pair_ids=list(pair_ids))
    gone_ids = [each.pair_id for run in runs for each in run.deleted]
    successors = successors_of(client, [*pair_ids, *gone_ids], settings)
    starts = {run.start for run in runs if run.start is not None}
    gone_starts = {each for each in starts if run_of_deleted(each, settings) is not None}
    linked = []
    for run in runs:
        pairs = [
            _linked_pair(pair_id, versions, outputs, successors)
            for pair_id, run_id in pair_ids.items()
            if run_id == run.run_id
        ]
        pairs += [
            LinkedPair((each.name,), each.pair_id, None, (), each, successors.get(each.pair_id, ()))
            for each in run.deleted
            if each.pair_id not in pair_ids
        ]
        linked.append(LinkedRun(run, tuple(pairs), run.start in gone_starts))
    return Lineage(asked, fingerprint, runs[0].data, tuple(linked))


def successors_of(
    client: MlflowClient, pair_ids: Sequence[str], settings: Settings
) -> Mapping[str, tuple[str, ...]]:
    """Returns the names of the pairs whose training started with each of some pairs, by its id."""
    runs = runs_started_from(pair_ids, settings)
    with store_errors(settings.tracking_uri):
        versions = list(_encoders_of(client, [run.run_id for run in runs]))
    found: dict[str, tuple[str, ...]] = {}
    for run in runs:
        names = [_name_of(each) for each in versions if each.run_id == run.run_id]
        pair_id = run.start_pair_id or ""
        found[pair_id] = (*found.get(pair_id, ()), *names)
    return found


def _encoders_of(client: MlflowClient, run_ids: Sequence[str]) -> Iterator[Any]:
    """Yields the encoder versions that some runs registered, oldest first."""
    for first in range(0, len(run_ids), _RUNS_AT_ONCE):
        listed = ",".join(f"'{run_id}'" for run_id in run_ids[first : first + _RUNS_AT_ONCE])
        found = client.search_model_versions(f"run_id IN ({listed})", max_results=10_000)
        for version in sorted(found, key=lambda each: int(each.creation_timestamp)):
            if version.tags.get(tags.HALF) == "encoder" and tags.PAIR_ID in version.tags:
                yield version


def _name_of(encoder: Any) -> str:
    return f"{encoder.name.removesuffix('-encoder')}/{encoder.version}"


def _linked_pair(
    pair_id: str,
    versions: Sequence[Any],
    outputs: Sequence[OutputRecord],
    successors: Mapping[str, tuple[str, ...]],
) -> LinkedPair:
    own = [version for version in versions if version.tags.get(tags.PAIR_ID) == pair_id]
    created = datetime.fromtimestamp(own[0].creation_timestamp / 1000, UTC)
    return LinkedPair(
        names=tuple(map(_name_of, own)),
        pair_id=pair_id,
        created=created,
        outputs=tuple(
            LinkedOutput(record, _state(record)) for record in outputs if record.pair_id == pair_id
        ),
        successors=successors.get(pair_id, ()),
    )


def _state(record: OutputRecord) -> str:
    """Returns whether a recorded output is unchanged, as far as this machine can tell."""
    if record.host != this_host():
        return "elsewhere"
    path = Path(record.path)
    try:
        if not path.exists():
            return "not there"
        return "as written" if content_sha256(path) == record.sha256 else "changed since"
    except OSError:
        return "not there"
