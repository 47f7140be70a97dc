"""Runs the jobs that subscribe to a model, once for each new champion, one after another.

Each run is an `isthmus` command in a process of its own, so that a long run does not delay the
handling of changes in MLflow's UI, and can be ended together with its child processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from filelock import FileLock

from isthmus.promotion.subscriptions import Subscription
from isthmus.spec import Settings

_RETRY_S = 300.0
_STOP_TIMEOUT_S = 10.0
OnLine = Callable[[str], None]


class Memory:
    """The champion of each subscription's last run, stored in `ISTHMUS_HOME`."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.home / "watch" / "subscriptions.json"
        self._store = settings.tracking_uri

    def champion(self, subscription: Subscription) -> int | None:
        """Returns the version; `None` if the subscription never ran."""
        return self._read().get(self._key(subscription))

    def remember(self, subscription: Subscription, version: int) -> None:
        """Stores the version. Several watchers may do so at the same time."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._file}.lock"):
            content = {**self._read(), self._key(subscription): version}
            beside = self._file.with_suffix(".new")
            beside.write_text(json.dumps(content, indent=2), encoding="utf-8")
            beside.replace(self._file)

    def _read(self) -> Mapping[str, int]:
        try:
            found: dict[str, int] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _key(self, each: Subscription) -> str:
        return f"{each.job} {each.model} {each.source} {each.output} {self._store}"


@dataclass
class _Run:
    subscription: Subscription
    version: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    until_s: float


class Reruns:
    """Starts the runs that are due, and reports their results."""

    def __init__(
        self, subscriptions: Sequence[Subscription], settings: Settings, on_line: OnLine
    ) -> None:
        """Creates the runs without starting any.

        Args:
            subscriptions: The jobs and the models that they follow.
            settings: The settings that say where the stores are. Its home holds the memory.
            on_line: A function that is called with a line about each start and each end of a run.
        """
        self._subscriptions = subscriptions
        self._settings = settings
        self._tell = on_line
        self._memory = Memory(settings)
        self._champions: dict[str, int | None] = {}
        self._not_before_s: dict[tuple[Subscription, int], float] = {}
        self._run: _Run | None = None

    @property
    def models(self) -> frozenset[str]:
        """The models that have subscriptions."""
        return frozenset(each.model for each in self._subscriptions)

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress."""
        return self._run is not None

    def follow(self, model: str, champion: int | None) -> None:
        """Sets a model's present champion, once it has passed the gate."""
        self._champions[model] = champion

    def advance(self) -> None:
        """Ends the runs that are finished and starts those that are due; returns at once."""
        run = self._run
        if run is not None and run.process.poll() is not None:
            self._finish(run)
            self._run = None
        elif run is not None and time.monotonic() >= run.until_s:
            _end(run)
            took = f"it took longer than {run.subscription.timeout_s:g} s (timeout_s)"
            self._put_off(run.subscription, run.version, took)
            self._run = None
        if self._run is None:
            self._start_next()

    def close(self) -> None:
        """Ends the present run. Its output stays as it was, and it runs again at the next start."""
        if self._run is not None:
            _end(self._run)
            self._run = None

    def _start_next(self) -> None:
        for each in self._subscriptions:
            version = self._champions.get(each.model)
            if version is None or self._memory.champion(each) == version:
                continue
            if time.monotonic() >= self._not_before_s.get((each, version), 0.0):
                try:
                    self._run = self._start(each, version)
                except OSError as error:  # the output cannot be written, or no process be started
                    self._put_off(each, version, str(error))
                    continue
                return

    def _start(self, each: Subscription, version: int) -> _Run:
        model = f"{each.model}/{version}"
        self._tell(f"{each.job} with {model}: {each.source}")
        each.output.parent.mkdir(parents=True, exist_ok=True)
        arguments = (each.job, "--model", model, "--force", each.source, str(each.output))
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process ends)
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-m", "isthmus", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # the watcher handles Ctrl-C, and can end the whole group
            env={
                **os.environ,
                "ISTHMUS_HOME": str(self._settings.home),
                "ISTHMUS_STORAGE": self._settings.storage_path,
                "MLFLOW_TRACKING_URI": self._settings.tracking_uri,
            },
        )
        return _Run(each, version, process, output, time.monotonic() + each.timeout_s)

    def _finish(self, run: _Run) -> None:
        with run.output:
            run.output.seek(0)
            lines = run.output.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else "no word"
        if run.process.returncode == 0:
            self._memory.remember(run.subscription, run.version)
            self._tell(said)
        else:
            self._put_off(run.subscription, run.version, said)

    def _put_off(self, subscription: Subscription, version: int, said: str) -> None:
        self._not_before_s[subscription, version] = time.monotonic() + _RETRY_S
        self._tell(f"{subscription} failed: {said}; it is tried again in 5 min")


def _end(run: _Run) -> None:
    """Ends a run together with its child processes."""
    with run.output, suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(_STOP_TIMEOUT_S)
        os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()
