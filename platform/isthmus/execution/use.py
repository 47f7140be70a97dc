"""The base classes of the downstream jobs: what a job declares, and what it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import ValidationError

from isthmus.data import Block, RangeWatch, RowSource, open_rejected, write_behind
from isthmus.data.prepared.watching import FAR_OUTSIDE
from isthmus.errors import UsageError, nearest
from isthmus.execution.blocks import OnRows
from isthmus.execution.outputs import OutputSchema
from isthmus.execution.task import Task
from isthmus.notebook import summary
from isthmus.progress.counting import counted
from isthmus.registry import Pair
from isthmus.spec import Settings, SpecModel
from isthmus.types import DataKind


@dataclass(frozen=True, kw_only=True)
class UseResult:
    """The result of a downstream job.

    Attributes:
        rows: Number of rows that the output is about.
        rejected: Number of rows that cannot be read. They are set aside, with their reasons, in
            `OUTPUT.rejected.csv`.
        output: The path of the output, or its address in S3.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair, which the output holds too.
        parts: Number of parts that a cluster wrote; 0 if there is one output.
        kept: Number of those that an interrupted job had done.
    """

    rows: int
    rejected: int
    output: Path | str
    model: str
    pair_id: str
    parts: int = 0
    kept: int = 0

    def moved_to(self, output: str | Path) -> UseResult:
        """Returns the result with the place that the output was brought to."""
        return replace(self, output=output)

    def _repr_html_(self) -> str:
        said = {
            each.name.replace("_", " "): shown
            for each in fields(self)
            if each.name not in ("rows", "model") and (shown := _in_words(getattr(self, each.name)))
        }
        return summary(f"{self.rows:,} rows by {self.model}", facts=said)


def _in_words(value: object) -> str:
    """Returns a field of a result for a notebook; empty for what says nothing."""
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if value else ""
    return "" if value is None else str(value)


def fields_of_result(
    pair: Pair, output: Path | str, counts: Mapping[str, int], parts: int
) -> dict[str, Any]:
    """Returns the fields that the results of all jobs have, and the counts of the job's own."""
    return {
        "output": output,
        "model": pair.reference,
        "pair_id": pair.manifest.pair_id,
        "parts": parts,
        **counts,
    }


class Use(ABC):
    """A downstream job: what a trained pair does with the rows of an input.

    `isthmus.uses` says how to add one.
    """

    SUMMARY: ClassVar[str]
    """The help of the job's command: an imperative sentence that tells what the job does."""
    EXAMPLE: ClassVar[str]
    """A command that uses it."""
    DOING: ClassVar[str]
    """The word for its progress: "denoising"."""
    DONE: ClassVar[str]
    """The word for its rows when it has ended: "denoised"."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data whose pairs can do it."""
    OUTPUT: OutputSchema[Any]
    """The schema of the output; it may depend on the options."""
    COUNTS: ClassVar[tuple[str, ...]] = ()
    """The fields of its result, besides `rows` and `rejected`, that are summed over parts."""
    TABLES_BESIDE: ClassVar[Mapping[str, pa.Schema]] = {}
    """The tables that it writes beside its output, `OUTPUT.NAME.csv`, with their columns."""
    MAY_LEAVE: ClassVar[float] = FAR_OUTSIDE
    """The distance that values may lie outside of the trained range before a warning is logged, in
    widths of that range."""
    HAS_REPORT: ClassVar[bool] = False
    """Whether `isthmus report` makes a page of its output, as the option --report asks for."""
    NEEDS_HELD_OUT: ClassVar[bool] = False
    """Whether it compares the input with the pair's held-out rows."""

    class Config(SpecModel):
        """The options of the job, each of which is an option of its command: here, none."""

    config: SpecModel

    def __init__(self, **options: object) -> None:
        """Creates the job with its options.

        Raises:
            UsageError: Naming the option that is wrong.
        """
        try:
            self.config = type(self).Config(**options)
        except ValidationError as error:
            raise UsageError(self._said_of(error)) from error

    @classmethod
    def name(cls) -> str:
        """Returns the name of the job, which is the stem of its file."""
        return cls.__module__.rpartition(".")[2]

    def adapted(self, pair: Pair, settings: Settings) -> Pair:
        """Returns the pair that does the job: by default, the one that was asked for.

        Raises:
            ModelNotFound: If another pair that the options name does not exist.
            RegistryError: If the pair cannot do what the options ask for.
        """
        return pair

    def check(self, pair: Pair) -> None:
        """Refuses a pair that cannot do the job.

        Raises:
            UsageError: Naming what the pair is trained on.
        """
        kind = pair.manifest.plan.kind
        if kind not in self.KINDS:
            raise UsageError(
                f"{self.name()} is for {' and '.join(self.KINDS)}, and {pair.reference} takes "
                f"{kind}; choose another pair"
            )

    def check_parts(self) -> None:  # noqa: B027 (most jobs do every file by itself)
        """Refuses what needs all rows at once, where each file is worked on by itself.

        Raises:
            UsageError: Naming the option to leave out.
        """

    def noted(self, pair: Pair) -> dict[str, object]:
        """Returns what the provenance of the output says of the options."""
        return {}

    @abstractmethod
    def work(self, task: Task) -> UseResult:
        """Does the job on one input, or on a part of it; the output appears whole or not at all.

        Raises:
            IsthmusError: If it cannot be done.
        """

    def result(
        self, pair: Pair, output: Path | str, counts: Mapping[str, int], *, parts: int = 0
    ) -> UseResult:
        """Returns the result, given `rows`, `rejected`, and the job's own counts."""
        return UseResult(**fields_of_result(pair, output, counts, parts))

    # -- what is said at the end ----------------------------------------------------------------

    def headline(self, result: UseResult) -> str:
        """Returns what came out, in words: the first words of the summary."""
        return f"{result.rows:,} rows {self.DONE}"

    def unit(self, result: UseResult) -> str:
        """Returns the word for the rows of the result: "rows"."""
        return "rows"

    def details(self, result: UseResult) -> list[str]:
        """Returns further lines of the summary."""
        return []

    def summary(self, result: UseResult) -> list[str]:
        """Returns the lines that the command prints."""
        place = str(result.output)
        if result.parts:
            kept = f", {result.kept:,} of them kept from before" if result.kept else ""
            place += f" ({result.parts:,} parts{kept})"
        by = f"by {result.model} (pair {result.pair_id})"
        lines = [f"{self.headline(result)} {by}: {place}"]
        if result.rejected:
            aside = f"{str(result.output).rstrip('/')}.rejected.csv"
            what = counted(result.rejected, self.unit(result))
            are = "is" if result.rejected == 1 else "are"
            lines.append(f"{what} cannot be read and {are} set aside: {aside}")
        return [*lines, *self.details(result)]

    def _said_of(self, error: ValidationError) -> str:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            valid = sorted(type(self).Config.model_fields)
            known = nearest(option, valid) if valid else "it has none"
            return f'{self.name()} has no option "{option}"; {known}'
        return f"{option}: {first['msg']}, and it is {first['input']!r}; correct it"


class RowsUse(Use):
    """A downstream job that makes something of each block of rows, and writes it.

    A subclass says what, in `apply`.
    """

    def prepared(self, source: RowSource) -> RowSource:
        """Returns the opened rows as the job reads them: by default, as they are."""
        return source

    @abstractmethod
    def apply(self, pair: Pair, block: Block, on_rows: OnRows | None) -> Any:
        """Returns what is written for a block of rows, as `OUTPUT` takes it.

        Args:
            pair: The pair.
            block: The rows. Of pairs that take images of any size, a block is one image, and its
                values have that image's own shape.
            on_rows: To be called with the rows that are done within the block.
        """

    def work(self, task: Task) -> UseResult:
        """Reads the input in blocks, and writes what is made of each."""
        files, pair, output = task.files(), task.pair, self.OUTPUT
        aside = task.options.set_aside and output.can_set_aside(files, pair.manifest.plan.kind)
        is_part = task.part is not None
        options = replace(task.options, set_aside=aside, let_short=is_part, blends=output.BLENDS)
        source = self.prepared(task.open(options))
        output.check(source, task.output)
        watch = RangeWatch(
            pair.manifest.rows_taken,
            task.called,
            indicators=pair.manifest.data.indicators,
            may_leave=self.MAY_LEAVE,
        )
        provenance = task.provenance(self.name(), self.noted(pair))
        if is_part and source.count == 0 and not output.writes_no_rows():
            output.copy_without_rows(files.path(0), task.output, provenance)
            return self.result(pair, task.output, {"rows": 0, "rejected": 0})
        with (
            output.open(source, task.output, provenance) as write_now,
            open_rejected(task.output, task.called, provenance) as rejected,
            write_behind(write_now) as write,
        ):

            def take(block: Block, on_rows: OnRows | None) -> None:
                watch.look(block.values)
                write(block, self.apply(pair, block, on_rows))

            rows = task.for_each_block(
                *(source, rejected, take),
                carry=output.CARRIES,
                takes_none=output.writes_no_rows(),
            )
        watch.report()
        return self.result(pair, task.output, {"rows": rows, "rejected": rejected.count})
