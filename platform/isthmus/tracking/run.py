"""The one place that writes MLflow runs: a job's parameters, curves, figures and end."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from isthmus.spec import DataSpec, JobSpec, ModelPlan, Settings
from isthmus.tracking.backlog import DatasetUse, MetricPoint
from isthmus.tracking.environment import environment, environment_tags
from isthmus.tracking.note import note
from isthmus.tracking.params import flattened
from isthmus.tracking.replay import (
    TAG_RESUMABLE,
    TAG_SPOOL,
    TAG_STATUS,
    interrupted_tags,
    replay,
)
from isthmus.tracking.report import RunReport
from isthmus.tracking.runs import (
    TAG_ATTEMPT,
    TAG_JOB,
    TAG_STORAGE,
    attempt_of,
    read_job,
)
from isthmus.tracking.spool import Spool, new_spool, spool_folder
from isthmus.tracking.store import experiment_id_of, first_line, open_store, shown, store_errors
from isthmus.tracking.writer import RunWriter

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from isthmus.progress.reporter import EpochReport

_logger = logging.getLogger(__name__)

_BACKGROUND_TIMEOUT_S = 60.0
_RUN_NAMES = (
    *("auk", "crane", "curlew", "dunlin", "eider", "finch", "gannet", "heron", "ibis"),
    *("jackdaw", "kestrel", "lapwing", "merlin", "nightjar", "osprey", "petrel", "quail"),
    *("robin", "siskin", "tern", "wagtail", "wren"),
)

TAG_ERROR = "isthmus.error"
TAG_NOTE = "mlflow.note.content"
TAG_PARENT = "mlflow.parentRunId"
# matplotlib's caches of fonts and glyphs are not made for threads: one figure at a time.
_DRAWING = threading.Lock()


class RunLog:
    """One MLflow run of one training job. Hears of training's progress as a `Reporter`.

    Nothing here waits for MLflow once the run is started, and nothing raises because of it: a
    thread writes about once a second, and what cannot be written waits on disk.

    Attributes:
        run_id: MLflow's id of the run.
        experiment_id: The experiment, which is named as the job.
        name: The run's readable name.
        url: The run's page; `None` if MLflow is embedded and so has no page until `isthmus ui`.
        attempt: 1, and one more for each resume.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        spec: JobSpec,
        settings: Settings,
        spool: Spool,
        *,
        attempt: int,
        written: Iterable[tuple[str, int]] = (),
        is_child: bool = False,
    ) -> None:
        """For `start` and `resume`; `written` are the (metric, step) that MLflow has.

        What waits in the spool is written, as if it had been said to this log.
        """
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name or self.run_id
        self.url = _page(settings.tracking_uri, self.experiment_id, self.run_id)
        self.attempt = attempt
        self._spec = spec
        self._known_params = set(run.data.params)
        self._columns: Sequence[str] | None = None
        self._noted: dict[str, Any] = {}
        self._is_over = False
        self._refusals: set[str] = set()
        self._threads: list[threading.Thread] = []
        waiting = spool.read()
        self._written = {*written, *((point.key, point.step) for point in waiting.metrics)}
        self._writer = RunWriter(client, self.run_id, settings.tracking_uri, spool)
        if is_child:
            return  # its parent says what both have in common
        self._in_background(self._log_environment)
        # What earlier runs could not write; not in the way of this one.
        self._in_background(lambda: replay(client, settings))

    @classmethod
    def start(
        cls,
        spec: JobSpec,
        settings: Settings,
        *,
        tags: Mapping[str, str] | None = None,
        parent: RunLog | None = None,
        name: str | None = None,
        unsettled: Collection[str] = (),
    ) -> RunLog:
        """Creates a run, in the experiment of the job's name.

        Args:
            spec: The job.
            settings: Where MLflow is.
            tags: More tags for the run.
            parent: The run that it is a part of, and that MLflow shows it under.
            name: The run's name; by default one that is easy to say.
            unsettled: Parameters, by dotted name, that `settle` will say.

        Raises:
            RegistryError: If the store cannot be reached within seconds, or refuses.
            UsageError: If the experiment was deleted, or Isthmus's home cannot be written to.
        """
        content = spec.model_dump(mode="json")
        spool = new_spool(settings, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        with spool.let_go_on_error(remove=True):
            client = open_store(settings)
            with store_errors(settings.tracking_uri):
                experiment_id = experiment_id_of(spec.name, client, settings)
        all_tags = {
            TAG_JOB: spec.name,
            "isthmus.variant": spec.variant.name,
            "isthmus.net": spec.net.name,
            TAG_ATTEMPT: "1",
            TAG_STATUS: "running",
            TAG_NOTE: note(spec),
            TAG_SPOOL: spool.folder.name,
            **({TAG_PARENT: parent.run_id} if parent else {}),
            **(tags or {}),
        }
        # The run may be made and the answer be lost: `replay` looks for it by its tag.
        with spool.let_go_on_error(remove=False), store_errors(settings.tracking_uri):
            run = client.create_run(
                experiment_id, tags=all_tags, run_name=name or _run_name(spec.name)
            )
            spool.move(spool_folder(settings, run.info.run_id))
        log = cls(client, run, spec, settings, spool, attempt=1, is_child=parent is not None)
        # A parameter can be written once: what is still open waits until it is known.
        log._add_params(
            {
                key: value
                for key, value in flattened(content).items()
                if value != "auto" and not _is_within(key, unsettled)
            }
        )
        return log

    @classmethod
    def resume(cls, run_id: str, settings: Settings) -> RunLog:
        """Goes on with a run; points of its curves that are there already are not written again.

        Raises:
            RegistryError: If the store cannot be reached, or the run is not there.
            UsageError: If another process is writing the run.
        """
        client = open_store(settings)
        with store_errors(settings.tracking_uri):
            replay(client, settings, client.get_run(run_id))
            run = client.get_run(run_id)
            spec = JobSpec.model_validate(read_job(client, run, settings))
            written = {
                (key, point.step)
                for key in run.data.metrics
                for point in client.get_metric_history(run_id, key)
            }
            # Locked before the run says that somebody works on it, which else nobody would end.
            spool = Spool(spool_folder(settings, run_id))
            with spool.let_go_on_error(remove=False):
                client.update_run(run_id, status="RUNNING")
                if TAG_ERROR in run.data.tags:
                    client.delete_tag(run_id, TAG_ERROR)
        log = cls(client, run, spec, settings, spool, attempt=attempt_of(run) + 1, written=written)
        log._writer.add(
            tags={
                TAG_ATTEMPT: str(log.attempt),
                TAG_STATUS: "running",
                TAG_RESUMABLE: "false",
            }
        )
        return log

    # -- what the run is --------------------------------------------------------------------------

    def settle(self, spec: JobSpec) -> None:
        """Says what the run's job came to be; `log_data` then writes what was left open."""
        self._spec = spec

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Adds tags, or changes them."""
        self._writer.add(tags=tags)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Adds parameters, by dotted name; those that are there already stay."""
        self._add_params(flattened(params))

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        """Adds a point to each of some curves."""
        self._add_points(values, step)

    def log_storage(self, path: str) -> None:
        """Says where the run's checkpoints are, so that it can be resumed."""
        self._writer.add(tags={TAG_STORAGE: path})

    def log_data(
        self, fingerprint: str, rows: Mapping[str, int], plan: ModelPlan, data: DataSpec
    ) -> None:
        """Says what is trained on what, with nothing left open.

        Args:
            fingerprint: sha256 of the data.
            rows: Rows in each split.
            plan: What is trained.
            data: The data, with nothing left open.
        """
        self._columns = data.feature_names
        self._noted.update(plan=plan, data=data, rows=rows)
        settled = {
            "data": {**data.model_dump(mode="json"), "fingerprint": fingerprint},
            "rows": dict(rows),
            **plan.model_dump(mode="json", include={"row_shape", "latent_dim", "net"}),
        }
        self._add_params({**flattened(self._spec.model_dump(mode="json")), **flattened(settled)})
        self._writer.add(
            tags={"isthmus.net": plan.net.name, TAG_NOTE: note(self._spec, **self._noted)},
            datasets=[
                DatasetUse(
                    name=self._spec.name,
                    digest=fingerprint[:32],
                    source_type="local" if "://" not in data.path else data.path.split(":")[0],
                    source=json.dumps({"uri": data.path}),
                    profile=json.dumps({f"{split}_rows": count for split, count in rows.items()}),
                )
            ],
        )

    def _add_params(self, params: Mapping[str, str]) -> None:
        new = {key: value for key, value in params.items() if key not in self._known_params}
        self._known_params.update(new)
        self._writer.add(params=new)

    def _log_environment(self) -> None:
        self._writer.add(tags=environment_tags())
        self._writer.add_text("environment.json", json.dumps(environment(), indent=2))

    # -- Reporter ---------------------------------------------------------------------------------

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        """Adds the points of a checkpoint's epochs that MLflow has not.

        A process that was killed had told the checkpoint of them and not yet MLflow.
        """
        for report in history:
            self.on_epoch(report)

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Nothing that a run's page would show."""

    def on_rows(self, epoch: int, done: int) -> None:
        """Nothing: curves have a point for each epoch."""

    def on_epoch(self, report: EpochReport) -> None:
        """Adds a point to each curve."""
        values = {
            **_named("train", report.train),
            **_named("validation", report.validation),
            "learning_rate": report.learning_rate,
            "rows_per_s": report.rows_per_s,
        }
        self._add_points(values, report.epoch)

    def _add_points(self, values: Mapping[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        points = [
            MetricPoint(key, float(value), now_ms, step)
            for key, value in values.items()
            if (key, step) not in self._written
        ]
        self._written.update((point.key, step) for point in points)
        self._writer.add(metrics=points)

    # -- what it came to --------------------------------------------------------------------------

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Says what training came to.

        A metric that is also a curve (`validation_loss`) is written as `final_validation_loss`:
        as one more point it would spoil the curve.
        """
        self._noted["metrics"] = dict(metrics)
        curves = {key for key, _ in self._written}
        self._add_points(
            {f"final_{key}" if key in curves else key: value for key, value in metrics.items()}, 0
        )
        self._writer.add(tags={TAG_NOTE: note(self._spec, **self._noted)})

    def log_report(self, report: RunReport) -> None:
        """Draws the figures, in a thread; `finish` waits for them."""
        self._in_background(lambda: self._draw(report))

    def _draw(self, report: RunReport) -> None:
        from isthmus.tracking.figures import draw

        with _DRAWING:
            for name, figure in draw(report, self._columns):
                path = f"figures/{name}"
                figure.savefig(self._writer.stage(path))
                self._writer.add_file(path)

    # -- how it ends ------------------------------------------------------------------------------

    def finish(self) -> None:
        """The run is finished: writes all that is left."""
        self._end("FINISHED", {TAG_STATUS: "finished"})

    def fail(self, error: BaseException) -> None:
        """The run failed: says with what, and writes all that is left. Never raises."""
        text = "".join(traceback.format_exception(error))
        reason = first_line(str(error) or type(error).__name__)
        self._in_background(lambda: self._writer.add_text("error.txt", text))
        self._end("FAILED", {TAG_STATUS: "failed", TAG_ERROR: reason})

    def interrupt(self, *, resumable: bool = True) -> None:
        """The run was interrupted: writes all that is left."""
        self._end("KILLED", interrupted_tags(resumable=resumable))

    def close(self) -> None:
        """Writes all that is left, or leaves it on disk for later; the run's status stays."""
        for thread in self._threads:
            thread.join(_BACKGROUND_TIMEOUT_S)
        self._writer.close()

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._writer.add(tags=tags)
        self._writer.end(status)
        self.close()

    def _in_background(self, work: Callable[[], object]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # a picture that fails must not fail the training
                reason = getattr(error, "strerror", None) or first_line(str(error))
                if reason not in self._refusals:  # a full disk refuses all of them
                    self._refusals.add(reason)
                    _logger.warning(
                        "part of run %s could not be logged: %s", self.name, reason, exc_info=True
                    )

        thread = threading.Thread(target=guarded, name="isthmus-tracking-extra", daemon=True)
        self._threads.append(thread)
        thread.start()


def _run_name(job: str) -> str:
    """Short and easy to say; no seed that was set for training repeats it."""
    return f"{job}-{secrets.choice(_RUN_NAMES)}-{secrets.randbelow(900) + 100}"


def _is_within(name: str, others: Collection[str]) -> bool:
    """Whether a dotted name is one of the others, or beneath one."""
    return any(f"{name}.".startswith(f"{other}.") for other in others)


def _named(part: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{part}_{key}": value for key, value in values.items()}


def _page(tracking_uri: str, experiment_id: str, run_id: str) -> str | None:
    if not tracking_uri.startswith(("http://", "https://")):
        return None
    return f"{shown(tracking_uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
