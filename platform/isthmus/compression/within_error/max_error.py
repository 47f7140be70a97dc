"""`--max-error`: how far decoded numbers may be from the compressed ones, in each column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.errors import UsageError, nearest
from isthmus.spec import RowSchema

_ADVICE = (
    "give a number such as 0.01, a share of the trained range such as 1%, or some columns' own, "
    "such as price=0.01,volume=5%; 0 keeps every digit"
)


@dataclass(frozen=True)
class _Amount:
    """An error: absolute, or a share of the range."""

    value: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> _Amount:
        is_share = text.endswith("%")
        try:
            value = float(text.removesuffix("%"))
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UsageError(f'--max-error: "{text}" is no error; {_ADVICE}')
        return cls(value / 100 if is_share else value, is_share)


@dataclass(frozen=True)
class MaxError:
    """The largest errors that `--max-error` allows.

    Attributes:
        of_all: The error of all features that have none of their own; `None` for exactly.
        of_columns: The error of columns, by their names.
    """

    of_all: _Amount | None
    of_columns: Mapping[str, _Amount]

    @classmethod
    def parse(cls, text: str) -> MaxError:
        """Reads the option: amounts, with or without the name of a column, and commas between.

        Raises:
            UsageError: If it is neither.
        """
        of_all, of_columns = None, {}
        for part in text.split(","):
            name, sign, amount = part.strip().rpartition("=")
            if not sign and of_all is not None:
                raise UsageError(f'--max-error: "{text}" has two errors for all; {_ADVICE}')
            if sign and (not name or name in of_columns):
                raise UsageError(f'--max-error: "{part.strip()}" names no new column; {_ADVICE}')
            if sign:
                of_columns[name] = _Amount.parse(amount)
            else:
                of_all = _Amount.parse(amount)
        return cls(of_all, of_columns)

    @property
    def is_exact(self) -> bool:
        """Returns whether it asks for no error anywhere."""
        of_all = [] if self.of_all is None else [self.of_all]
        return not any(each.value for each in [*of_all, *self.of_columns.values()])

    def of(
        self, columns: Sequence[str], features: Sequence[str], taken: RowSchema
    ) -> dict[str, float]:
        """Returns the largest error of each column that may have one.

        Args:
            columns: The columns of a file.
            features: Those of them that the pair takes, in its order.
            taken: The schema of the pair's training rows.

        Raises:
            UsageError: If a named column is not there, or a share is of no range.
        """
        unknown = [name for name in self.of_columns if name not in columns]
        if unknown:
            raise UsageError(
                f'--max-error: no column "{unknown[0]}"; '
                f"{nearest(unknown[0], list(columns), 'The table has')}"
            )
        if self.of_all is not None and self.of_all.value and not features:
            raise UsageError(
                "--max-error: a file has other columns than the pair's features, so an error of "
                "all features is of none; name its columns, such as price=0.01, or give 0"
            )
        of_all = {} if self.of_all is None else dict.fromkeys(features, self.of_all)
        return {
            name: self._absolute(name, amount, features, taken)
            for name, amount in {**of_all, **self.of_columns}.items()
            if amount.value
        }

    def _absolute(
        self, name: str, amount: _Amount, features: Sequence[str], taken: RowSchema
    ) -> float:
        if not amount.is_share:
            return amount.value
        if name not in features:
            raise UsageError(
                f"--max-error: {name} is no feature of the pair, so it has no trained range; give "
                "a number instead of a share"
            )
        if taken.lowest is None or taken.highest is None:
            raise UsageError(
                "--max-error: the pair remembers no trained range; give a number instead of a "
                "share, or train it again"
            )
        place = features.index(name)
        return amount.value * (taken.highest[place] - taken.lowest[place])
