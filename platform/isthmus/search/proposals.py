"""Which settings a search tries next: Optuna's samplers, asked and told by Ray Tune."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial, TrialState
from ray.tune import Stopper
from ray.tune.search import Searcher

from isthmus.spec import RangeSpec, TuningSpec

# Four digits tell settings apart, and can be read and typed.
_DIGITS = 4
# A sampler that finds nothing new after so many draws has nothing new to find.
_MOST_REPEATS = 100

Values = Mapping[str, object]


class _Stopper(Stopper):  # type: ignore[misc]
    def __init__(self, proposals: Proposals) -> None:
        self._proposals = proposals

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def stop_all(self) -> bool:
        return self._proposals.is_over


class Proposals(Searcher):  # type: ignore[misc]
    """Proposes settings, never the same twice, until there were enough or there are no more."""

    def __init__(
        self,
        tuning: TuningSpec,
        accept: Callable[[int, Values], bool],
        end: Callable[[int, float | None, str | None], None],
    ) -> None:
        """Args:
        tuning: What to search, how.
        accept: Takes a trial's number, from 1, and values; returns whether it can be trained.
        end: Takes a trial's number, its last value, and why it failed if Ray Tune knows.
        """
        super().__init__(metric="value", mode="min")
        self.is_over = False
        self._tuning = tuning
        self._accept = accept
        self._end = end
        self._distributions = {name: _distribution(each) for name, each in tuning.search.items()}
        self._study = _study(tuning)
        self._asked: dict[str, tuple[int, Trial]] = {}
        self._seen: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial, for Ray Tune: its number; the settings are ours to keep."""
        while not self.is_over and len(self._seen) < self._tuning.trials:
            asked, values = self._new_values()
            if asked is None:
                break
            if self._accept(len(self._seen), values):
                self._asked[trial_id] = len(self._seen), asked
                return {"trial": len(self._seen)}
            self._study.tell(asked, state=TrialState.FAIL)
        finished: str = Searcher.FINISHED
        return finished

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells the sampler what a trial came to."""
        if trial_id not in self._asked:
            return
        number, asked = self._asked.pop(trial_id)
        value = (result or {}).get("value")
        if error or not result or value is None:
            self._study.tell(asked, state=TrialState.FAIL)
        elif result["is_finished"]:
            self._study.tell(asked, value)
        else:
            asked.report(value, result["epoch"])
            self._study.tell(asked, state=TrialState.PRUNED)
        self._end(number, value, "its process was lost, and again" if error else None)

    def stopper(self) -> Stopper:
        """Ends the search, for Ray Tune, once `is_over` is set."""
        return _Stopper(self)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes itself down, to be restored, which a search is not."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search that was interrupted begins anew."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search that was interrupted begins anew."""

    def _new_values(self) -> tuple[Trial | None, Values]:
        if len(self._seen) >= self._tuning.combinations:
            return None, {}
        for _ in range(_MOST_REPEATS):
            asked = self._study.ask(self._distributions)
            values = {
                name: _value(each, asked.params[name]) for name, each in self._tuning.search.items()
            }
            key = json.dumps(values, sort_keys=True)
            if key not in self._seen:
                self._seen.add(key)
                return asked, values
            self._study.tell(asked, state=TrialState.FAIL)
        return None, {}


def _study(tuning: TuningSpec) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # Of options that Optuna calls experimental, and has kept for years.
        warnings.simplefilter("ignore")
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.RandomSampler(seed=tuning.seed)
            if tuning.algorithm == "random"
            # What runs counts as bad for now, so that trials at the same time differ.
            else optuna.samplers.TPESampler(seed=tuning.seed, constant_liar=True)
        )
        return optuna.create_study(sampler=sampler, direction="minimize")


def _distribution(each: RangeSpec) -> BaseDistribution:
    if each.kind == "choice":
        # By position: a choice may be a list, or a mapping.
        return CategoricalDistribution(list(range(len(each.values))))
    low, high = each.values
    is_log = each.kind.startswith("log")
    if each.kind.endswith("integer"):
        return IntDistribution(low, high, log=is_log)
    return FloatDistribution(low, high, log=is_log)


def _value(each: RangeSpec, drawn: Any) -> object:
    if each.kind == "choice":
        return each.values[drawn]
    if each.kind.endswith("integer"):
        return int(drawn)
    low, high = each.values
    return float(min(max(float(f"{drawn:.{_DIGITS}g}"), low), high))
