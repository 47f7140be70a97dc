"""Defines the `tuning` section of a job file: the ranges of a search and its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from isthmus.errors import Fault, SpecError, nearest
from isthmus.spec.model import SpecModel
from isthmus.spec.yaml_file import parse_value

RANGES: Mapping[str, str] = {
    "choice": "{choice: [8, 16, 32]}",
    "uniform": "{uniform: [0.1, 0.5]}",
    "log_uniform": "{log_uniform: [1e-4, 1e-2]}",
    "integer": "{integer: [2, 6]}",
    "log_integer": "{log_integer: [4, 64]}",
}


class RangeSpec(SpecModel):
    """The values that one field may take: `{choice: [8, 16]}`, `{log_uniform: [1e-4, 1e-2]}`."""

    EXAMPLES: ClassVar[str] = ", ".join(RANGES.values())

    kind: Literal["choice", "uniform", "log_uniform", "integer", "log_integer"]
    """The way in which values are drawn: from a list, or uniformly between two bounds, which may be
    drawn themselves, on a linear or a logarithmic scale."""
    values: tuple[Any, ...]
    """The values of the list, or the two bounds."""

    @model_validator(mode="before")
    @classmethod
    def _from_one_entry(cls, content: object) -> object:
        if isinstance(content, RangeSpec):
            return content
        if not isinstance(content, Mapping) or len(content) != 1:
            raise ValueError(f"needs one range, as in {cls.EXAMPLES}")
        kind, values = next(iter(content.items()))
        if kind not in RANGES:
            raise ValueError(f'no range "{kind}"; {nearest(str(kind), list(RANGES))}')
        if not isinstance(values, list | tuple):
            raise ValueError(f"{kind} needs a list, as in {RANGES[kind]}")
        return {"kind": kind, "values": tuple(values)}

    @model_validator(mode="after")
    def _can_be_drawn_from(self) -> RangeSpec:
        if self.kind == "choice":
            if not self.values:
                raise ValueError("choice needs at least one value")
            return self
        number = int if self.kind.endswith("integer") else (int, float)
        is_pair = len(self.values) == 2
        if not is_pair or not all(
            isinstance(value, number) and not isinstance(value, bool) for value in self.values
        ):
            what = "two whole numbers" if number is int else "two numbers"
            raise ValueError(f"{self.kind} needs {what}, as in {RANGES[self.kind]}")
        low, high = self.values
        if not (isfinite(low) and isfinite(high)):
            raise ValueError(f"{self.kind} needs finite bounds, as in {RANGES[self.kind]}")
        if not low < high:
            raise ValueError(f"{low} is not below {high}; give the lower bound first")
        if self.kind.startswith("log") and low <= 0:
            raise ValueError(f"the logarithm of {low} is no number; give a bound above 0")
        return self

    @model_serializer
    def _as_in_the_file(self) -> dict[str, Any]:
        return {self.kind: list(self.values)}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "title": "RangeSpec",
            "description": cls.__doc__,
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {kind: {"type": "array", "minItems": 1} for kind in RANGES},
        }


class TuningSpec(SpecModel):
    """The search of `isthmus tune`. `isthmus train` does not read this section."""

    search: Mapping[str, RangeSpec] = Field(default_factory=dict)
    """The ranges to search, by the field's dotted name: `training.learning_rate: {log_uniform:
    [1e-4, 1e-2]}`. Every field can be searched but `name` and those of this section."""
    trials: int = Field(default=20, ge=1, le=100_000)
    """The number of trials. There are fewer if the choices have fewer combinations."""
    algorithm: Literal["optuna", "random"] = "optuna"
    """The algorithm that proposes values. `optuna` is its tree-structured Parzen estimator, which
    draws ten trials at random and then learns from all before (Bergstra et al. 2011, NeurIPS).
    `random` draws all at random."""
    scheduler: Literal["asha", "none"] = "asha"
    """Whether trials are stopped early. `asha` stops a trial at certain epochs if it is not among
    the best there (asynchronous successive halving, Li et al. 2018, arXiv:1810.05934). `none`
    trains every trial to its end."""
    grace_epochs: int | Literal["auto"] = Field(default="auto")
    """The first epoch at which a trial may be stopped, at least 1. `auto` is a tenth of
    `training.epochs`."""
    reduction_factor: int = Field(default=3, ge=2, le=16)
    """The factor of successive halving: at each such epoch one in this many trials continues, and
    the next such epoch is this many times later."""
    metric: str = Field(default="auto", pattern=r"^(auto|validation[/_][a-z0-9_]+)$")
    """The metric that the best trial minimises, at the epoch whose weights it keeps. `auto` is
    `validation/mse`: the mean squared reconstruction error of the validation rows, without noise,
    in scaled units. It does not depend on the loss and its weights, whereas `validation/loss`,
    `validation/reconstruction` and the other parts of the loss only compare trials with the same
    loss. There is no metric of test rows, because a choice by them would look better than it is."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The seed of the proposals. Each trial trains with `training.seed`."""
    concurrent: int | Literal["auto"] = Field(default="auto")
    """The number of trials at a time, at least 1. `auto` is as many as the CPUs or GPUs allow."""

    @model_validator(mode="after")
    def _counts_from_one(self) -> TuningSpec:
        for name in ("grace_epochs", "concurrent"):
            value = getattr(self, name)
            if value != "auto" and value < 1:
                raise ValueError(f"{name}={value} is too small; use at least 1, or auto")
        return self

    @property
    def measured(self) -> str:
        """The name of the metric among the validation losses: `mse`, `loss`, `kl`."""
        return "mse" if self.metric == "auto" else self.metric[len("validation/") :]

    @property
    def combinations(self) -> float:
        """The number of combinations of all choices; infinite if a field has a range of numbers."""
        count = 1.0
        for each in self.search.values():
            count *= len(each.values) if each.kind == "choice" else float("inf")
        return count


def parse_search(options: Sequence[str]) -> dict[str, Any]:
    """Parses the ranges of the command line.

    Args:
        options: The ranges, `training.learning_rate=log_uniform:1e-4:1e-2` or
            `latent_dim=choice:8,16,32`.

    Returns:
        The content of `tuning.search` in a job file.

    Raises:
        SpecError: If an option is no range. The error names all of them.
    """
    search: dict[str, Any] = {}
    faults = []
    for option in options:
        name, _, said = option.partition("=")
        kind, colon, text = said.partition(":")
        try:
            listed = text if kind == "choice" else text.replace(":", ",")
            values = parse_value(f"[{listed}]")
        except yaml.YAMLError:
            values = None
        if not name.strip() or not colon or values is None:
            faults.append(
                Fault(
                    "--search",
                    f'"{option}" is not NAME=RANGE, as in latent_dim=choice:8,16,32 or '
                    "training.learning_rate=log_uniform:1e-4:1e-2",
                )
            )
        else:
            search[name.strip()] = {kind: values}
    if faults:
        raise SpecError(faults)
    return search
