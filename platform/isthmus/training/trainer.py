"""Ray Train without what training here has no use for: each helper is a process that imports Ray.

Both methods are Ray's own business. Should a later Ray rename them, training does the same and
starts a few seconds later.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ray.train.torch import TorchTrainer

from isthmus.training.session import ray_is_ours

# Gives out Ray's datasets; rows come to the workers in another way.
_WITHOUT_DATASETS = "DatasetsCallback"
# Frees what a controller that died has reserved; a Ray of our own ends with it.
_WITHOUT_CLUSTER = "PlacementGroupCleanerCallback"


class LeanTrainer(TorchTrainer):  # type: ignore[misc]
    """Ray's trainer, with fewer processes about it."""

    def _create_default_callbacks(self) -> list[Any]:
        unused = set() if self.datasets else {_WITHOUT_DATASETS}
        if ray_is_ours():
            unused.add(_WITHOUT_CLUSTER)
        given: list[Any] = super()._create_default_callbacks()
        return [each for each in given if type(each).__name__ not in unused]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        if ray_is_ours():
            with suppress(ImportError):
                from isthmus.training.scaling_policy import FixedWorkers

                arguments["scaling_policy"] = FixedWorkers(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)
