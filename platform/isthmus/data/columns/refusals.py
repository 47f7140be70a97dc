"""Tells all that training refuses in the columns of a table at once, with the lines to paste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.data.columns.survey import Column, Holds, fields_that_read, survey
from isthmus.data.columns.writing import Writing
from isthmus.data.tables import TableFormat
from isthmus.errors import DataError, printable
from isthmus.spec import DataSpec
from isthmus.spec.yaml_file import in_yaml


@dataclass(frozen=True)
class Refusal:
    """A reason why one column cannot be trained on as it is.

    Attributes:
        column: The name of the column.
        why: The reason, such as `is not numeric (for example "red", in row 0)`.
    """

    column: str
    why: str


class ColumnsRefused(DataError):
    """Several columns cannot be trained on as they are.

    Attributes:
        name: The name of the table for messages.
        refusals: The fault of each.
        changes: The fields of the data section that would mend it, with their whole values.
    """

    def __init__(self, name: str, refusals: Sequence[Refusal], changes: dict[str, object]) -> None:
        self.name = name
        self.refusals = tuple(refusals)
        self.changes = changes
        super().__init__(*self.refusals)

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {len(self.refusals)} columns cannot be trained on (rows count from 0):",
            *(f'  "{each.column}" {each.why}' for each in self.refusals),
        ]
        if self.changes:
            lines += ["These lines in the job file would let the table be read:", "  data:"]
            lines += [f"    {field}: {in_yaml(value)}" for field, value in self.changes.items()]
        return "\n".join(printable(line) for line in lines)

    def __reduce__(self) -> tuple[type[ColumnsRefused], tuple[object, ...]]:
        # Python unpickles exceptions from `args`, which are not our parameters, and Ray pickles
        # errors.
        return (type(self), (self.name, self.refusals, self.changes))


def refusals_of(
    table: TableFormat, numbers: Sequence[str], name: str, spec: DataSpec
) -> ColumnsRefused | None:
    """Looks for all that is wrong with the columns that training takes as numbers.

    Args:
        table: The table, in whose first rows is looked.
        numbers: The columns.
        name: The name of the table for messages.
        spec: The data section that the table is read by.

    Returns:
        The error about them; `None` if nothing was found, or nothing but missing values.
    """
    columns = survey(table, numbers, spec)
    wrong = [(each, why) for each in columns if (why := _why(each, spec)) is not None]
    if all(each.is_numeric and not each.is_infinite.any() for each, _ in wrong):
        return None  # gaps alone, which one message tells of all columns
    refusals = [Refusal(each.name, why) for each, why in wrong]
    return ColumnsRefused(name, refusals, changes_for([each for each, _ in wrong], columns, spec))


def _why(column: Column, spec: DataSpec) -> str | None:
    if not column.is_numeric:
        if column.first_text < 0:
            return "is not numeric, and has no value"
        why = f'is not numeric (for example "{column.example}", in row {column.first_text})'
        if column.writing is Writing.PERCENT:
            return f"{why}; to train on it, write its numbers without the sign %"
        if column.writing is Writing.THOUSANDS and column.may_be_decimals and spec.decimal == ".":
            return f"{why}; if its comma is the decimal sign, set data.decimal: ','"
        return why
    if column.is_infinite.any():
        return f"holds infinity or a value beyond float32, in row {column.is_infinite.argmax()}"
    if spec.missing == "refuse" and column.is_missing.any():
        return f"has missing values, first in row {column.is_missing.argmax()}"
    return None


def changes_for(
    wrong: Sequence[Column], columns: Sequence[Column], spec: DataSpec
) -> dict[str, object]:
    """Returns the fields of the data section that let a table with such columns be trained on.

    Args:
        wrong: The columns that are refused.
        columns: All columns that training takes as numbers.
        spec: The data section as it is; lists keep what it has.
    """
    exclude, categories, signs = list(spec.exclude), list(spec.categories), list[str]()
    fields, read = fields_that_read(columns, spec.decimal, spec.thousands)
    changes: dict[str, object] = dict(fields)
    may_have_categories = spec.kind != "series" and not isinstance(spec.categories, Mapping)
    for each in wrong:
        if each.is_numeric:
            if each.is_infinite.any() or each.is_missing.all():
                exclude.append(each.name)
        elif each.missing_signs:
            signs += [sign for sign in each.missing_signs if sign not in signs]
        elif each.name in read:
            continue
        elif each.holds is Holds.CATEGORIES and may_have_categories:
            categories.append(each.name)
        else:
            exclude.append(each.name)
    if len(exclude) > len(spec.exclude):
        changes["exclude"] = tuple(exclude)
    if len(categories) > len(spec.categories):
        changes["categories"] = tuple(categories)
    if signs:
        changes["missing_values"] = (*spec.missing_values, *signs)
    has_gaps = any(each.is_missing.any() for each in columns if each.name not in exclude)
    if spec.missing == "refuse" and (signs or has_gaps):
        changes["missing"] = "mean" if spec.scaling in ("auto", "standard") else "drop"
    return changes
