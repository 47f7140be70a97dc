"""The MLflow run of a training job: the only place that writes its parameters, metrics and end."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from isthmus.errors import first_line
from isthmus.spec import DataSpec, JobSpec, ModelPlan, Settings
from isthmus.tracking.backlog import DatasetUse, MetricPoint
from isthmus.tracking.environment import environment, environment_tags
from isthmus.tracking.extras import Extras
from isthmus.tracking.note import note
from isthmus.tracking.pages import OF_JOB, run_page
from isthmus.tracking.params import flattened
from isthmus.tracking.replay import (
    TAG_RESUMABLE,
    TAG_SPOOL,
    TAG_STATUS,
    interrupted_tags,
    replay,
)
from isthmus.tracking.report import RunReport
from isthmus.tracking.run_names import run_name
from isthmus.tracking.runs import (
    TAG_ATTEMPT,
    TAG_ATTEMPT_BEGAN,
    TAG_EARLIER,
    TAG_JOB,
    TAG_STORAGE,
    attempt_of,
    read_job,
    seconds_of,
)
from isthmus.tracking.spool import JOB_FILE, Spool, new_spool, spool_folder
from isthmus.tracking.store import experiment_id_of, open_store, store_errors
from isthmus.tracking.writer import RunWriter

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from isthmus.progress.reporter import EpochReport

TAG_ERROR = "isthmus.error"
TAG_NOTE = "mlflow.note.content"
TAG_PARENT = "mlflow.parentRunId"
# matplotlib's caches of fonts and glyphs are not thread-safe, so one figure is drawn at a time.
_DRAWING = threading.Lock()


class RunLog:
    """The MLflow run of a training job, which receives training's progress as a `Reporter`.

    Once the run is started, no method waits for MLflow or raises because of it. A thread writes
    about once a second, and records that cannot be written wait on disk.

    Attributes:
        run_id: MLflow's id of the run.
        experiment_id: The id of the experiment, which has the job's name.
        name: The readable name of the run.
        url: The URL of the run in MLflow's UI; `None` if MLflow is embedded, since it then has no
            UI until `isthmus ui` runs.
        attempt: 1, plus one for each resume.
        earlier_s: The time of all attempts before this one, in seconds.
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
        """Creates the log, for `start` and `resume`.

        The records that wait in the spool are written, as if they had been given to this log.

        Args:
            client: The client of the tracking store.
            run: The MLflow run.
            spec: The job.
            settings: The settings that say where MLflow is.
            spool: The run's spool.
            attempt: 1, plus one for each resume.
            written: The (metric, step) of each point that MLflow already has.
            is_child: Whether the run has a parent run, which logs the environment for both.
        """
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name or self.run_id
        self.url = run_page(settings.tracking_uri, self.experiment_id, self.run_id)
        self.attempt = attempt
        self.earlier_s = 0.0
        self._spec = spec
        self._known_params = set(run.data.params)
        self._columns: Sequence[str] | None = None
        self._noted: dict[str, Any] = {}
        self._is_over = False
        self._extras = Extras(self.name)
        waiting = spool.read()
        self._written = {*written, *((point.key, point.step) for point in waiting.metrics)}
        self._writer = RunWriter(client, self.run_id, settings.tracking_uri, spool)
        if is_child:
            return  # the parent run logs the environment for both
        self._extras.begin(self._log_environment)
        # Records that wait of earlier runs are written in the background, not to delay this one.
        self._extras.begin(lambda: replay(client, settings))

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
        """Creates a run in the experiment with the job's name.

        Args:
            spec: The job.
            settings: The settings that say where MLflow is.
            tags: More tags for the run.
            parent: The parent run, under which MLflow shows this one.
            name: The run's name; by default one that is easy to say.
            unsettled: The dotted names of parameters whose values `settle` will give.

        Raises:
            RegistryError: If the store cannot be reached within seconds, or refuses the run.
            UsageError: If the experiment was deleted, or Isthmus's home cannot be written to.
        """
        content = spec.model_dump(mode="json")
        spool = new_spool(settings, _as_yaml(spec))
        with spool.let_go_on_error(remove=True):
            client = open_store(settings)
            with store_errors(settings.tracking_uri):
                experiment_id = experiment_id_of(spec.name, client, settings, OF_JOB)
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
        # The run may be created although the answer is lost; `replay` then finds it by its tag.
        with spool.let_go_on_error(remove=False), store_errors(settings.tracking_uri):
            run = client.create_run(
                experiment_id, tags=all_tags, run_name=name or run_name(spec.name)
            )
            spool.move(spool_folder(settings, run.info.run_id))
        log = cls(client, run, spec, settings, spool, attempt=1, is_child=parent is not None)
        # A parameter can be written only once, so open ones wait until they are known.
        log._add_params(
            {
                key: value
                for key, value in flattened(content).items()
                if value != "auto" and not _is_within(key, unsettled)
            }
        )
        return log

    @classmethod
    def resume(cls, run_id: str, settings: Settings, changed: JobSpec | None = None) -> RunLog:
        """Resumes a run. Points of metrics that MLflow already has are not written again.

        Args:
            run_id: The run's id.
            settings: The settings that say where MLflow is.
            changed: The job, if it is no longer that of the run's job file, which it replaces.

        Raises:
            RegistryError: If the store cannot be reached, or the run does not exist.
            UsageError: If another process is writing the run.
        """
        client = open_store(settings)
        with store_errors(settings.tracking_uri):
            replay(client, settings, client.get_run(run_id))
            run = client.get_run(run_id)
            spec = changed or JobSpec.model_validate(read_job(client, run, settings))
            written = {
                (key, point.step)
                for key in run.data.metrics
                for point in client.get_metric_history(run_id, key)
            }
            # The spool is locked before the status becomes RUNNING, because otherwise nothing would
            # end the run if this process died in between.
            spool = Spool(spool_folder(settings, run_id))
            with spool.let_go_on_error(remove=False):
                client.update_run(run_id, status="RUNNING")
                if TAG_ERROR in run.data.tags:
                    client.delete_tag(run_id, TAG_ERROR)
        log = cls(client, run, spec, settings, spool, attempt=attempt_of(run) + 1, written=written)
        log.earlier_s = seconds_of(run)
        tags = {TAG_ATTEMPT: str(log.attempt), TAG_STATUS: "running", TAG_RESUMABLE: "false"}
        log._writer.add(tags={**tags, TAG_EARLIER: str(log.earlier_s)})
        if changed is not None:
            log._writer.add_text(JOB_FILE, _as_yaml(changed))
        return log

    # -- what the run is --------------------------------------------------------------------------

    def settle(self, spec: JobSpec) -> None:
        """Sets the job's final options; `log_data` then writes those that were left open."""
        self._spec = spec

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Adds or changes tags."""
        self._writer.add(tags=tags)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Adds parameters by dotted name; those that exist already are kept."""
        self._add_params(flattened(params))

    def log_begin(self, seconds_ago: float) -> None:
        """Records when this attempt began; the log was opened while it was under way."""
        began_ms = int(1000 * (time.time() - seconds_ago))
        self._writer.add(tags={TAG_ATTEMPT_BEGAN: str(began_ms)})

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        """Adds a point to each of some metrics."""
        self._add_points(values, step)

    def log_storage(self, path: str) -> None:
        """Records where the run's checkpoints are, so that it can be resumed."""
        self._writer.add(tags={TAG_STORAGE: path})

    def log_data(
        self, fingerprint: str, rows: Mapping[str, int], plan: ModelPlan, data: DataSpec
    ) -> None:
        """Logs the model and the data, with all open values resolved.

        Args:
            fingerprint: The sha256 of the data.
            rows: The number of rows in each part of the split.
            plan: The plan of the model.
            data: The data options.
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
                    source_type=data.place,
                    source=json.dumps({"uri": data.shown_path}),
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
        """Adds the points of a checkpoint's epochs that MLflow does not have.

        A process that was killed may have written them to the checkpoint but not yet to MLflow.
        """
        for report in history:
            self.on_epoch(report)

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Does nothing, because MLflow's UI would not show it."""

    def on_rows(self, epoch: int, done: int) -> None:
        """Does nothing, because metrics have one point for each epoch."""

    def on_epoch(self, report: EpochReport) -> None:
        """Adds a point to each metric."""
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

    # -- results ----------------------------------------------------------------------------------

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of the trained model.

        What was measured on test rows becomes metrics, by which MLflow compares runs. The others,
        such as `seconds`, become tags, because MLflow would draw a chart of each. Those that have
        a curve, such as `validation/loss`, stand in it at the best epoch.
        """
        self._noted["metrics"] = dict(metrics)
        measured = {key: value for key, value in metrics.items() if key.startswith("test/")}
        curves = {key for key, _ in self._written} | measured.keys()
        facts = {f"isthmus.{key}": f"{metrics[key]:.6g}" for key in metrics if key not in curves}
        self._add_points(measured, 0)
        self._writer.add(tags={**facts, TAG_NOTE: note(self._spec, **self._noted)})

    def log_report(self, report: RunReport) -> None:
        """Draws the figures in a thread, for which `finish` waits."""
        self._extras.begin(lambda: self._draw(report))

    def _draw(self, report: RunReport) -> None:
        from isthmus.tracking.figures import drawings

        with _DRAWING:
            for name, draw in drawings(report, self._columns).items():
                with self._extras.forgiving(name):  # one figure that fails must not lose the others
                    path = f"figures/{name}"
                    draw().savefig(self._writer.stage(path))
                    self._writer.add_file(path)

    # -- how it ends ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Sets the status to finished and writes all remaining records."""
        self._end("FINISHED", {TAG_STATUS: "finished"})

    def fail(self, error: BaseException) -> None:
        """Sets the status to failed, logs the error, and writes all that is left. Never raises."""
        text = "".join(traceback.format_exception(error))
        reason = first_line(error)
        self._extras.begin(lambda: self._writer.add_text("error.txt", text))
        self._end("FAILED", {TAG_STATUS: "failed", TAG_ERROR: reason})

    def interrupt(self, *, resumable: bool = True) -> None:
        """Sets the status to interrupted and writes all remaining records."""
        self._end("KILLED", interrupted_tags(resumable=resumable))

    def close(self) -> None:
        """Writes all remaining records, or leaves them on disk; does not change the status."""
        self._extras.join()
        self._writer.close()

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._writer.add(tags=tags)
        self._writer.end(status)
        self.close()


def _as_yaml(spec: JobSpec) -> str:
    content = spec.model_dump(mode="json")
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def _is_within(name: str, others: Collection[str]) -> bool:
    """Returns whether a dotted name equals one of the others, or is below one."""
    return any(f"{name}.".startswith(f"{other}.") for other in others)


def _named(part: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{part}/{key}": value for key, value in values.items()}
