"""Looks at data and drafts a job file that training accepts, with comments for its reader."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus.data import arrays, is_large, open_rows
from isthmus.data.columns.quality import MissingValues
from isthmus.data.columns.refusals import ColumnsRefused
from isthmus.data.kinds.tabular import is_array
from isthmus.data.opening import guess_kind, locate
from isthmus.data.storage.files import Files
from isthmus.data.tables import NotANumber, ReadByField
from isthmus.drafts.arrays import draft_array
from isthmus.drafts.fields import Field, lines_of
from isthmus.drafts.media import draft_images, draft_sounds
from isthmus.drafts.tables import draft_table
from isthmus.errors import DataError, IsthmusError, SpecError, UsageError, printable
from isthmus.jobs.catalog import catalog
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job, data_of, plan_for
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec, JobSpec, ModelPlan, apply_override, parse_job
from isthmus.types import DataKind

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 60
_STEPS_IN_AN_EPOCH = 32
_SMALLEST_BATCH, _LARGEST_BATCH = 16, 1024
_ROW_VISITS = 400_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 300
_MOST_CHANGES = 20


@dataclass(frozen=True)
class Draft:
    """A drafted job file.

    Attributes:
        name: The job's name.
        text: The file.
        kind: The kind of the data.
        rows: The number of rows to train on, or of patches in an epoch, where that is known.
        counted: The words for what `rows` counts, such as "rows to train on".
        left_out: The columns that are not trained on.
        guesses: The fields that were guessed to read the file at all, each with the reason.
    """

    name: str
    text: str
    kind: str
    rows: int | None
    counted: str
    left_out: tuple[str, ...]
    guesses: tuple[str, ...] = ()


def draft_job(path: str, query: str | None = None, overrides: Sequence[str] = ()) -> Draft:
    """Looks at data, and drafts a job file.

    Args:
        path: The value for `data.path`: a file, a folder, a glob, `s3://`, a database.
        query: The query whose rows are read, if it is a database.
        overrides: Fields of the data section that the job file is to have,
            `["data.encoding=latin-1"]`.

    Raises:
        UsageError: If there is no such field of the data section.
        DataError: If the data cannot be trained on, whatever a job file says.
    """
    given = [Field("path", path), *([Field("query", query)] if query else [])]
    given += given_fields(overrides)
    guesses: list[str] = []
    while True:
        try:
            return replace(_drafted(path, given), guesses=tuple(guesses))
        except ReadByField as error:
            if error.field in {field.name for field in given}:
                raise
            given.append(Field(error.field, error.value, error.why))
            guesses.append(f"{error.field}: {error.value}. {error.why}")


def given_fields(overrides: Sequence[str]) -> list[Field]:
    """Returns the fields of the data section that `--set` gives.

    Raises:
        UsageError: If one is not a field of the data section that can be given so.
    """
    content: dict[str, Any] = {}
    for override in overrides:
        where = apply_override(content, override, "")
        section, _, name = where.partition(".")
        if section != "data" or name not in DataSpec.model_fields or name in ("path", "query"):
            raise UsageError(
                f"--set {override}: isthmus init takes fields of the data section, such as "
                "data.encoding=latin-1; change others in the file that it writes"
            )
    return [Field(name, value) for name, value in content.get("data", {}).items()]


def _drafted(path: str, given: Sequence[Field]) -> Draft:
    """Drafts a job file with fields that are given.

    Raises:
        ReadByField: If the data can be read with one field more.
        DataError: If they cannot be trained on.
    """
    values = {field.name: field.value for field in given}
    spec = parse_job({"name": name_of(path), "data": values}, catalog()).data
    files = locate(path)
    refusal: IsthmusError | None = None
    for found in _candidates(files, spec):
        fields = [*given, *(each for each in found if each.name not in values)]
        for net in ("auto", "dense"):  # an image may be too small for the net of images
            try:
                return _accepted(name_of(path), fields, net)
            except ReadByField:
                raise
            except (DataError, SpecError) as error:
                refusal = refusal or error
    raise refusal or DataError(f"{path}: holds nothing to train on")


def name_of(path: str) -> str:
    """Returns a job's name for a path: `cells` for `data/cells.csv.gz`."""
    last = re.split(r"[/:]", path.split("?")[0].rstrip("/*"))[-1].replace("*", "").lstrip(".")
    name = _NOT_IN_A_NAME.sub("-", last.split(".")[0]).strip("-_")[:_LONGEST_NAME]
    return name or "job"


def _candidates(files: Files, spec: DataSpec) -> Iterator[list[Field]]:
    if arrays.is_bundled(files.name) or files.endings <= set(arrays.endings()):
        return draft_array(files)
    kind = guess_kind(files, spec) if spec.kind == "auto" else spec.kind
    if kind == DataKind.IMAGES:
        return draft_images(files)
    if kind == DataKind.AUDIO:
        return draft_sounds(files)
    if not facts_of(kind).from_tables:
        return iter([[Field("kind", kind)]])
    is_array(files)  # it refuses what holds neither arrays nor tables
    return draft_table(files, spec)


def _accepted(name: str, fields: list[Field], net: str) -> Draft:
    """Changes the fields until training accepts them, for what lies below the rows looked at.

    Raises:
        DataError: If it never does.
        SpecError: If the net does not suit the rows.
    """
    for _ in range(_MOST_CHANGES):
        try:
            return _written(name, fields, net)
        except NotANumber as error:
            fields = _without(fields, [error.column], "texts, further down")
        except ColumnsRefused as error:
            refused = [each.column for each in error.refusals]
            fields = _without(fields, refused, "no numbers, as training reads them")
        except MissingValues:
            fields = [*fields, Field("missing", "mean", "Values are missing further down.")]
    return _written(name, fields, net)


def _without(fields: Sequence[Field], columns: Sequence[str], why: str) -> list[Field]:
    """Returns the fields with more columns left out."""
    old = next((each for each in fields if each.name == "exclude"), Field("exclude", []))
    names = [*(old.value if isinstance(old.value, list) else []), *columns]
    new = replace(old, value=names, notes=[*old.notes, *(why for _ in columns)])
    if old in fields:
        return [new if each is old else each for each in fields]
    return [*fields, new]


def _written(name: str, fields: Sequence[Field], net: str) -> Draft:
    """Writes the job file for fields that training accepts.

    Raises:
        DataError: If it does not accept them.
        SpecError: If the net does not suit the rows.
    """
    data = {field.name: field.value for field in fields if not field.is_proposal}
    job = {"name": name, "data": data, "variant": _variant(data), "net": net}
    plan, rows = _tried(check_job(job))
    counted = "patches in an epoch" if "patch" in data else "rows to train on"
    text = "\n".join(_lines(name, fields, plan, rows, counted, net))
    excluded = data.get("exclude", ())
    left_out = tuple(excluded) if isinstance(excluded, list) else ()
    return Draft(name, text, plan.kind, rows, counted, left_out)


def _variant(data: Collection[str]) -> str:
    """Returns the variant for the fields that the data section has."""
    return "denoising" if "patch" in data else "plain"


def _tried(spec: JobSpec) -> tuple[ModelPlan, int | None]:
    """Reads the data as training does; returns the plan, and the rows to train on if known."""
    source, data = open_rows(data_of(spec))
    if is_large(source, data):
        next(iter(source.blocks()))
        return plan_for(spec, data, source.schema.shape), source.count
    prepared = prepare(spec)
    prepared.close()
    return prepared.plan, prepared.split_sizes["train"]


def _lines(
    name: str, fields: Sequence[Field], plan: ModelPlan, rows: int | None, counted: str, net: str
) -> list[str]:
    path = printable(str(fields[0].value))
    is_cut = any(field.name == "patch" for field in fields)
    many = "" if rows is None else f": {rows:,} {counted}"
    values = 1
    for side in plan.row_shape:
        values *= side
    lines = [
        f"# Drafted by `isthmus init` from {path}{many}.",
        "# Read it, change what you know better, then: isthmus train FILE",
        f"name: {name}",
        "",
        "data:",
    ]
    for field in fields:
        lines += lines_of(field, "  ")
    why = _of_latent(values, plan.latent_dim)
    chosen = f"auto chooses {plan.net.name} for such rows; isthmus nets lists the others."
    lines += [
        "",
        *lines_of(
            Field("variant", plan.variant.name, "How it learns; isthmus variants lists the others.")
        ),
        *lines_of(Field("net", net, chosen if net == "auto" else "What it is made of.")),
        *([] if is_cut else lines_of(Field("latent_dim", plan.latent_dim, why))),
        "",
        "training:",
        *lines_of(Field("epochs", _epochs(rows), "It stops before, once it learns no more."), "  "),
        *lines_of(Field("global_batch_size", _batch(rows)), "  "),
        "",
    ]
    return lines


def _of_latent(values: int, latent_dim: int) -> str:
    shown = f"A row has {values:,} value{'' if values == 1 else 's'}"
    if latent_dim < values:
        return f"{shown}; fewer than that in the latent make it learn what matters."
    return f"{shown}, so that the latent has room for all: more columns would say more."


def _epochs(rows: int | None) -> int:
    """Returns the most epochs: the fewer, the more rows there are."""
    return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, _ROW_VISITS // max(1, rows or _ROW_VISITS)))


def _batch(rows: int | None) -> int:
    """Returns the power of two that leaves about 32 steps in an epoch."""
    batch = _SMALLEST_BATCH
    while batch < _LARGEST_BATCH and 2 * batch * _STEPS_IN_AN_EPOCH <= (rows or 1 << 30):
        batch *= 2
    return batch


def refuse_existing(output: Path, *, replace_existing: bool) -> None:
    """Refuses a job file that exists already, unless it is to be replaced.

    Raises:
        UsageError: If it exists.
    """
    if output.exists() and not replace_existing:
        raise UsageError(f"{output} exists already; name another with -o, or add --force")


def save(draft: Draft, output: Path, *, replace_existing: bool = False) -> None:
    """Writes a drafted job file as a whole.

    Raises:
        UsageError: If the file exists already.
        DataError: If the place cannot be written to.
    """
    refuse_existing(output, replace_existing=replace_existing)
    temporary = output.with_name(f".{output.name}.new")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(draft.text, encoding="utf-8")
        temporary.replace(output)
    except OSError as error:
        raise DataError(
            f"{output}: cannot be written ({error.strerror}); name another place"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
