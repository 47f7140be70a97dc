"""The folder of a job's parts, from its beginning to its end: what is kept, what is written last.

While the job goes on, the folder holds `pair.json`, which says what job it is, and the parts that
are done, each with its provenance. At its end, `summary.json` says that all are there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from isthmus.data import Provenance, sidecar_path
from isthmus.data.outputs.provenance import FOLDER_PROVENANCE
from isthmus.data.outputs.results import table_beside
from isthmus.data.outputs.table_output import open_table_output
from isthmus.errors import DataError, UsageError
from isthmus.execution.part_worker import PartOutcome, PartsPlan, hidden_name, sidecar_name

SUMMARY = "summary.json"
"""The file of the folder that is written last."""


class Parts:
    """The parts of one job."""

    def __init__(self, plan: PartsPlan, provenance: Provenance) -> None:
        """Creates it; nothing is read or written yet.

        Args:
            plan: The plan of the work.
            provenance: The provenance of the job as a whole, which the folder keeps.
        """
        self._plan = plan
        self._provenance = provenance
        self._folder = plan.output

    def begin(self, *, force: bool) -> list[PartOutcome]:
        """Makes the folder ready.

        Args:
            force: Whether earlier results are removed.

        Returns:
            The parts that are there already, from a job like this one that was interrupted.

        Raises:
            DataError: If the folder holds files that are no results of this kind.
            UsageError: If it holds other results, or results that are complete.
        """
        there = self._folder.names()
        if there and FOLDER_PROVENANCE not in there:
            raise DataError(
                f"{self._folder.address}: holds other files, which are not touched; name a new "
                "folder"
            )
        if there and force:
            self._folder.clear()
            there = set()
        if not there:
            self._folder.write(FOLDER_PROVENANCE, (self._provenance.to_json() + "\n").encode())
            return []
        self._folder.remove_unfinished()
        self._refuse_other(there)
        names = enumerate(self._plan.names)
        kept = [self._kept(number) for number, name in names if name in there]
        return [each for each in kept if not each.counts["rejected"] or self._has_rejected_of(each)]

    def finish(self, outcomes: Sequence[PartOutcome]) -> dict[str, int]:
        """Writes the rows that were set aside and other tables beside the folder, and the summary.

        Returns:
            The counts of all parts together.

        Raises:
            DataError: If no row could be read.
        """
        rejected = [each for each in outcomes if each.counts["rejected"]]
        if not any(each.counts["rows"] for each in outcomes) and rejected:
            self._refuse_nothing_left(rejected)
        for table in self._plan.tables:
            target = table_beside(Path(self._folder.address), table).name
            self._write_beside(target, self._tables_of(outcomes, table))
        total = {name: sum(each.counts[name] for each in outcomes) for name in self._plan.counts}
        summary = {
            "pair_id": self._provenance.pair_id,
            "model": self._provenance.model,
            "created": self._provenance.created,
            **self._provenance.extra,
            "parts": len(outcomes),
            **total,
            "by_part": {self._plan.names[each.number]: dict(each.counts) for each in outcomes},
        }
        self._folder.write(SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
        for each in rejected:
            self._folder.remove(hidden_name(self._plan.names[each.number], "rejected"))
        for table in self._plan.use.TABLES_BESIDE:
            for name in self._plan.names:
                self._folder.remove(hidden_name(name, table))
        self._folder.remove_unfinished()
        return total

    # -- what is there already ------------------------------------------------------------------

    def _refuse_other(self, there: set[str]) -> None:
        address = self._folder.address
        if SUMMARY in there:
            raise UsageError(
                f"{address} exists already, and is complete; choose another output, or add --force"
            )
        said = self._provenance_in(FOLDER_PROVENANCE)
        if said is None or _differs(said, self._provenance):
            by = "another job" if said is None else f"{said.model} of {said.extra.get('input')}"
            raise UsageError(
                f"{address} holds parts by {by}, or with other options; choose another output, or "
                "add --force"
            )
        names = self._plan.names
        known = {FOLDER_PROVENANCE, *names, *(sidecar_name(name) for name in names)}
        unknown = sorted(there - known)
        if unknown:
            raise UsageError(
                f"{address} holds {unknown[0]}, which is no part of {self._plan.source}; choose "
                "another output, or add --force"
            )

    def _kept(self, number: int) -> PartOutcome:
        """Returns what came of a part that is there.

        Raises:
            UsageError: If it was made by another pair, or its file has changed since.
        """
        name = self._plan.names[number]
        said = self._provenance_in(sidecar_name(name))
        extra = {**self._provenance.extra, **self._plan.noted[number]}
        counts = {} if said is None else {each: said.extra.get(each) for each in self._plan.counts}
        if said is None or _differs(said, self._provenance, {**extra, **counts}):
            raise UsageError(
                f"{self._folder.place(name)}: was made by another pair, or of a file that has "
                "changed since; add --force to do all parts again"
            )
        return PartOutcome(number, {name: int(str(count)) for name, count in counts.items()})

    def _provenance_in(self, name: str) -> Provenance | None:
        content = self._folder.read(name)
        return None if content is None else Provenance.from_json(content.decode(errors="replace"))

    # -- tables beside the folder ---------------------------------------------------------------

    def _write_beside(self, target: str, tables: Iterator[pa.Table]) -> None:
        """Writes a table of the tables of parts, or removes that of an earlier job without any."""
        beside = self._folder.beside()
        first = next(tables, None)
        if first is None:
            beside.remove(target)
            beside.remove(sidecar_path(Path(target)).name)
            return
        with ExitStack() as stack:
            folder = Path(self._folder.address).parent
            if not self._folder.is_local:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with open_table_output(folder / target, self._provenance) as append:
                append(first)
                for each in tables:
                    append(each)
            if not self._folder.is_local:
                beside.put(sidecar_path(folder / target), sidecar_path(Path(target)).name)
                beside.put(folder / target, target)

    def _has_rejected_of(self, outcome: PartOutcome) -> bool:
        name = hidden_name(self._plan.names[outcome.number], "rejected")
        return self._folder.read(name) is not None

    def _tables_of(self, outcomes: Sequence[PartOutcome], table: str) -> Iterator[pa.Table]:
        """Yields a table beside the parts, for each part that has it."""
        for each in outcomes:
            content = self._folder.read(hidden_name(self._plan.names[each.number], table))
            if content is not None:
                yield _table_of(content, self._plan.tables[table])

    def _refuse_nothing_left(self, rejected: Sequence[PartOutcome]) -> None:
        count = sum(each.counts["rejected"] for each in rejected)
        first = next(self._tables_of(rejected[:1], "rejected")).slice(0, 1).to_pylist()[0]
        raise DataError(
            f"{self._plan.source}: none of its {count} row(s) can be read; row {first['row']} of "
            f"{first['file']}: {first['reason']}"
        )


def _table_of(content: bytes, columns: pa.Schema) -> pa.Table:
    types = dict(zip(columns.names, columns.types, strict=True))
    convert = pa_csv.ConvertOptions(column_types=types)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    return pa_csv.read_csv(pa.BufferReader(content), None, parse, convert)


def _differs(said: Provenance, wanted: Provenance, extra: dict[str, object] | None = None) -> bool:
    """Returns whether results are of another pair or another job; when they are of may differ."""
    as_written = json.loads(json.dumps(dict(wanted.extra) if extra is None else extra, default=str))
    return said.pair_id != wanted.pair_id or dict(said.extra) != as_written
