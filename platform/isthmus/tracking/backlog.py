"""Records of a run that are not in MLflow yet: kept in memory and on disk until they are sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# MLflow's limits for one call to log_batch.
_METRICS_PER_CALL = 1000
_PARAMS_OR_TAGS_PER_CALL = 100
# Errors that no retry mends.
_FINAL_ERRORS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "PERMISSION_DENIED",
    }
)


class MetricPoint(NamedTuple):
    """One point of a metric's curve.

    The timestamp is that of the event, not of the writing. MLflow stores a point with the same
    timestamp only once, so any point that may have been lost can be sent again.
    """

    key: str
    value: float
    timestamp_ms: int
    step: int


class DatasetUse(NamedTuple):
    """The dataset that a run was trained on, as MLflow's UI shows it."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str


@dataclass
class Backlog:
    """Records of one run, in the order in which they are to be written.

    Attributes:
        params: Parameters by name.
        tags: Tags by name.
        metrics: Points of metrics, oldest first.
        datasets: The dataset inputs of the run.
        ending: The status and end time (ms) of a run that is over.
        artifacts: Files in the run's spool folder, by their artifact path.
    """

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    datasets: list[DatasetUse] = field(default_factory=list)
    ending: tuple[str, int] | None = None
    artifacts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))

    def before(self, later: Backlog) -> Backlog:
        """Returns these records and later ones as one backlog."""
        return Backlog(
            params={**self.params, **later.params},
            tags={**self.tags, **later.tags},
            metrics=self.metrics + later.metrics,
            datasets=self.datasets + later.datasets,
            ending=later.ending or self.ending,
            artifacts=list(dict.fromkeys(self.artifacts + later.artifacts)),
        )

    def to_json(self) -> str:
        """Converts the backlog to JSON, for the spool."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Backlog:
        """Creates the backlog from the JSON that `to_json` returned."""
        content: dict[str, Any] = json.loads(text)
        return cls(
            params=content["params"],
            tags=content["tags"],
            metrics=[MetricPoint(*point) for point in content["metrics"]],
            datasets=[DatasetUse(*use) for use in content["datasets"]],
            ending=tuple(content["ending"]) if content["ending"] else None,
            artifacts=content["artifacts"],
        )

    def send(self, client: MlflowClient, run_id: str, files: Path) -> None:
        """Writes everything to MLflow, and removes each part from the backlog once it is written.

        What MLflow refuses for good (a parameter that has another value, a run that was deleted) is
        logged and dropped, because no retry would help.

        Args:
            client: The client of the tracking store.
            run_id: The id of the run.
            files: The folder of the files in `artifacts`. A file is removed once it is written.

        Raises:
            Exception: Any error of the store or the network. The backlog then holds what is still
                to be sent.
        """
        from mlflow.entities import Metric, Param, RunTag

        while self.params:
            part = dict(islice(self.params.items(), _PARAMS_OR_TAGS_PER_CALL))
            with _final_errors_dropped(run_id, f"parameters {', '.join(part)}"):
                client.log_batch(run_id, params=[Param(*item) for item in part.items()])
            _forget(self.params, part)
        while self.tags:
            part = dict(islice(self.tags.items(), _PARAMS_OR_TAGS_PER_CALL))
            with _final_errors_dropped(run_id, f"tags {', '.join(part)}"):
                client.log_batch(run_id, tags=[RunTag(*item) for item in part.items()])
            _forget(self.tags, part)
        while self.metrics:
            points = self.metrics[:_METRICS_PER_CALL]
            with _final_errors_dropped(run_id, f"{len(points)} points of its curves"):
                client.log_batch(run_id, metrics=[Metric(*point) for point in points])
            del self.metrics[: len(points)]
        while self.datasets:
            with _final_errors_dropped(run_id, "its data set"):
                client.log_inputs(run_id, datasets=[_dataset_input(self.datasets[0])])
            del self.datasets[0]
        if self.ending is not None:
            status, end_time_ms = self.ending
            with _final_errors_dropped(run_id, "its status"):
                client.set_terminated(run_id, status, end_time_ms)
            self.ending = None
        # Artifacts come last, so that a broken artifact store does not block the other records.
        while self.artifacts:
            path = PurePosixPath(self.artifacts[0])
            folder = None if path.parent == PurePosixPath() else str(path.parent)
            if (files / path).exists():  # otherwise it was sent before the process was killed
                with _final_errors_dropped(run_id, str(path)):
                    client.log_artifact(run_id, str(files / path), folder)
                (files / path).unlink(missing_ok=True)
            del self.artifacts[0]


def _forget(records: dict[str, str], written: Mapping[str, str]) -> None:
    for key in written:
        del records[key]


def _dataset_input(use: DatasetUse) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(use.name, use.digest, use.source_type, use.source, profile=use.profile)
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


@contextmanager
def _final_errors_dropped(run_id: str, what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in _FINAL_ERRORS:
            raise
        _logger.warning("MLflow refused %s of run %s: %s", what, run_id, error)
