"""Records the files that pairs have made, so that a pair's outputs can be found.

Each output is an MLflow run in an experiment of its own, with the pair's models as its inputs.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from isthmus.errors import first_line
from isthmus.spec import Settings
from isthmus.tracking.pages import INTERNAL
from isthmus.tracking.replay import TAG_KIND
from isthmus.tracking.store import experiment_id_of, is_empty_store, open_store, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

EXPERIMENT = "isthmus outputs"
"""The experiment of all outputs. No job has this name, because job names have no spaces."""
OUTPUT = "output"
_PREFIX = "isthmus.output."
_TAG_PAIR = "isthmus.pair_id"
_MOST_FOUND = 1000
# The longest wait for a store that does not answer. By then the results are written.
_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class OutputRecord:
    """The record of a file of results.

    Attributes:
        job: `denoise` or `detect`.
        path: The absolute path that it was written to.
        host: The machine that it was written on.
        sha256: The sha256 of its content.
        source: The input that it was made from.
        rows: The number of rows.
        pair_id: The id of the pair that made it.
        model: The pair's name and version, such as `digits/3`.
        created: The time of its creation, ISO 8601.
    """

    job: str
    path: str
    host: str
    sha256: str
    source: str
    rows: int
    pair_id: str
    model: str
    created: str


def this_host() -> str:
    """Returns this machine's name in records."""
    return socket.gethostname()


class OutputRecorder:
    """Records a job's output, with a store that it opens while the job runs.

    No method raises, or waits longer than 10 seconds. If the store fails, the job's result stays
    and a warning says that it was not recorded.
    """

    def __init__(self, settings: Settings) -> None:
        """Starts to open the store, in a thread."""
        self._settings = settings
        self._opened: tuple[MlflowClient, str] | None = None
        self._reason = "MLflow does not answer"
        self._record: OutputRecord | None = None
        self._models: Sequence[str] = ()
        self._given = threading.Event()
        # A daemon thread, so that a call that hangs inside MLflow cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="isthmus-outputs", daemon=True)
        self._thread.start()

    def record(self, record: OutputRecord, models: Sequence[str]) -> bool:
        """Records the output. It may be called only once.

        Args:
            record: The record of the output.
            models: MLflow's ids of the pair's halves.

        Returns:
            Whether the output was recorded.
        """
        self._record, self._models = record, models
        self._given.set()
        self._thread.join(_LONGEST_WAIT_S)
        if self._reason:
            _logger.warning("lineage of %s was not recorded: %s", record.path, self._reason)
        return not self._reason

    def cancel(self) -> None:
        """Ends the thread without recording anything."""
        self._given.set()

    def _run(self) -> None:
        try:
            with store_errors(self._settings.tracking_uri):
                client = open_store(self._settings)
                experiment_id = experiment_id_of(EXPERIMENT, client, self._settings, INTERNAL)
                self._given.wait()
                if self._record is not None:
                    _write(client, experiment_id, self._record, self._models)
            self._reason = ""
        except Exception as error:  # noqa: BLE001 (the result stays, whatever the store raises)
            self._reason = first_line(error)


def find_outputs(
    settings: Settings, *, pair_ids: Sequence[str] = (), sha256: str | None = None
) -> list[OutputRecord]:
    """Returns the recorded outputs of some pairs, or with a given content, newest first.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        return []
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        if sha256 is not None:
            conditions = [f"tags.`{_PREFIX}sha256` = '{sha256}'"]
        else:
            conditions = [f"tags.`{_TAG_PAIR}` = '{pair_id}'" for pair_id in pair_ids]
        found: list[OutputRecord] = []
        for condition in conditions:
            runs = client.search_runs(
                [experiment.experiment_id],
                condition,
                max_results=_MOST_FOUND,
                order_by=["attributes.start_time DESC"],
            )
            found += [_read(run) for run in runs]
        return sorted(found, key=lambda record: record.created, reverse=True)


def _write(
    client: MlflowClient, experiment_id: str, record: OutputRecord, models: Sequence[str]
) -> None:
    """Writes the record in three requests; all facts are in the first one."""
    from mlflow.entities import LoggedModelInput

    tags = {
        **{f"{_PREFIX}{field.name}": str(getattr(record, field.name)) for field in fields(record)},
        TAG_KIND: OUTPUT,
        _TAG_PAIR: record.pair_id,
    }
    name = f"{record.job} {record.path.rpartition('/')[2]}"
    now_ms = int(time.time() * 1000)
    run = client.create_run(experiment_id, start_time=now_ms, tags=tags, run_name=name)
    client.log_inputs(run.info.run_id, models=[LoggedModelInput(model) for model in models])
    client.set_terminated(run.info.run_id, "FINISHED")


def _read(run: Run) -> OutputRecord:
    tags: Mapping[str, str] = run.data.tags
    values: dict[str, Any] = {
        field.name: tags.get(f"{_PREFIX}{field.name}", "") for field in fields(OutputRecord)
    }
    return OutputRecord(**{**values, "rows": int(values["rows"] or 0)})
