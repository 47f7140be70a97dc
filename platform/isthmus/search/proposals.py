"""The settings that a search tries next, from Optuna's samplers through Ray Tune's interface."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import Stopper
from ray.tune.search import Searcher

from isthmus.extras import importing
from isthmus.spec import RangeSpec, TuningSpec

with importing("tune", needed_by="isthmus tune"):
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import Trial, TrialState

# Four significant digits distinguish settings, and are easy to read and type.
_DIGITS = 4
# After this many draws in a row without a new setting, the search space counts as exhausted.
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
    """Proposes settings, each only once, until there are enough or no more exist."""

    def __init__(
        self,
        tuning: TuningSpec,
        accept: Callable[[int, Values], bool],
        end: Callable[[int, float | None, str | None], None],
    ) -> None:
        """Creates the searcher.

        Args:
            tuning: The search space, the sampler, and the number of trials.
            accept: Takes a trial's number, counted from 1, and its values; returns whether it can
                be trained.
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
        """Returns the config of Ray Tune's next trial, or `FINISHED` if there is none.

        The config holds only the trial's number; the driver keeps the settings.
        """
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
        """Tells the sampler the result of a trial."""
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
        """Returns a stopper with which Ray Tune ends the search once `is_over` is set."""
        return _Stopper(self)

    def __getstate__(self) -> dict[str, Any]:
        """Returns no state: Ray Tune saves it to restore a search, and none is restored."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Does nothing, because an interrupted search starts again from the beginning."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, because an interrupted search starts again from the beginning."""

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
        # Optuna warns about options that it has called experimental for years.
        warnings.simplefilter("ignore")
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.RandomSampler(seed=tuning.seed)
            if tuning.algorithm == "random"
            # `constant_liar` counts running trials as bad, so that concurrent trials differ.
            else optuna.samplers.TPESampler(seed=tuning.seed, constant_liar=True)
        )
        return optuna.create_study(sampler=sampler, direction="minimize")


def _distribution(each: RangeSpec) -> BaseDistribution:
    if each.kind == "choice":
        # By index, because a choice may be a list or a mapping.
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
