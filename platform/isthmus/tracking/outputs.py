"""Records the files that pairs have made, so that from a pair one finds what was made with it.

Each is an MLflow run of an experiment of their own, with the pair's models as its inputs.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from isthmus.spec import Settings
from isthmus.tracking.replay import TAG_KIND
from isthmus.tracking.store import experiment_id_of, first_line, open_store, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

EXPERIMENT = "isthmus outputs"
"""No job's: those have no spaces in their names."""
OUTPUT = "output"
_PREFIX = "isthmus.output."
_TAG_PAIR = "isthmus.pair_id"
_MOST_FOUND = 1000
# For a store that does not answer; the results are written by then.
_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True)
class OutputRecord:
    """What is kept of a file of results.

    Attributes:
        job: `denoise` or `detect`.
        path: Where it was written, absolute.
        host: On which machine.
        sha256: Of its content.
        source: What it was made from.
        rows: How many.
        pair_id: The pair that made it.
        model: Its name and version, `digits/3`.
        created: When, ISO 8601.
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
    """What records call this machine."""
    return socket.gethostname()


class OutputRecorder:
    """Opens the store beside a job's work, and records the job's output at its end.

    Nothing here raises, and nothing waits longer than seconds: without the store the job's result
    stands, and one line says that it was not recorded.
    """

    def __init__(self, settings: Settings) -> None:
        """Begins to open the store."""
        self._settings = settings
        self._opened: tuple[MlflowClient, str] | None = None
        self._reason = "MLflow does not answer"
        self._record: OutputRecord | None = None
        self._models: Sequence[str] = ()
        self._given = threading.Event()
        # A daemon: a call that hangs inside MLflow must not keep the process.
        self._thread = threading.Thread(target=self._run, name="isthmus-outputs", daemon=True)
        self._thread.start()

    def record(self, record: OutputRecord, models: Sequence[str]) -> bool:
        """Records an output; once.

        Args:
            record: What to keep.
            models: MLflow's ids of the pair's halves.

        Returns:
            Whether it is recorded.
        """
        self._record, self._models = record, models
        self._given.set()
        self._thread.join(_LONGEST_WAIT_S)
        if self._reason:
            _logger.warning("lineage of %s was not recorded: %s", record.path, self._reason)
        return not self._reason

    def cancel(self) -> None:
        """There is nothing to record."""
        self._given.set()

    def _run(self) -> None:
        try:
            with store_errors(self._settings.tracking_uri):
                client = open_store(self._settings)
                experiment_id = experiment_id_of(EXPERIMENT, client, self._settings)
                self._given.wait()
                if self._record is not None:
                    _write(client, experiment_id, self._record, self._models)
            self._reason = ""
        except Exception as error:  # noqa: BLE001 (the result stands, whatever ails the store)
            self._reason = first_line(str(error))


def find_outputs(
    settings: Settings, *, pair_ids: Sequence[str] = (), sha256: str | None = None
) -> list[OutputRecord]:
    """The recorded outputs of some pairs, or of that content; newest first.

    Raises:
        RegistryError: If the store cannot be reached.
    """
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
    """Three requests: all that is known goes with the first."""
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
