"""Runs that stopped before their end: which may go on, with what changed, and what they have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from isthmus import plugins
from isthmus.bundle.plugin_places import is_of_user
from isthmus.errors import UsageError
from isthmus.jobs.ensembles import members_of
from isthmus.jobs.fitting import member_name
from isthmus.jobs.preparation import Prepared
from isthmus.jobs.specs import changed_job, check_job
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import JobSpec, Settings
from isthmus.spec.load import plugin_paths
from isthmus.tracking import SEARCH, StoredRun, find_run

CHANGEABLE = (
    "training.epochs",
    "training.early_stopping",
    "training.schedule",
    "training.final_learning_rate_share",
    "training.checkpoint_interval_s",
)
"""The fields that a resumed run may change, and those below them."""
# Why no other field may change, by the beginning of its name.
_REASONS = {
    "data": "its weights have learned from these rows",
    "training": "its optimizer and its order of rows rest on it",
}
_ANY_REASON = "the pair is to be that of the job that began"


def stopped_run(reference: str, settings: Settings, verb: str) -> StoredRun:
    """Finds a run that was interrupted or failed.

    Args:
        reference: The run's id, the beginning of its id, or its name.
        settings: The settings that say where the runs are.
        verb: The verb of what is to be done with it, `resume` or `finish`.

    Raises:
        UsageError: If there is no such run, or it is a search, or finished.
        RegistryError: If the store cannot be reached.
    """
    stored = find_run(reference, settings)
    if stored.kind == SEARCH:
        raise UsageError(f"run {reference} is a search; start it again with isthmus tune")
    if stored.status == "FINISHED":
        raise UsageError(f"run {reference} is finished; there is nothing to {verb}")
    return stored


def where_its_checkpoints_are(stored: StoredRun, settings: Settings) -> Settings:
    """Returns the settings with the place where a run began to store its checkpoints.

    By default that is in the folder in which the command was typed, which may have been another.
    """
    if stored.storage_path is None:
        return settings
    return settings.model_copy(update={"storage_path": stored.storage_path})


def job_of(stored: StoredRun, settings: Settings) -> JobSpec:
    """Returns the job of a stopped run, with its plugins imported.

    Raises:
        UsageError: If a file with plugins may be somebody else's.
        SpecError: If a file has changed, or this Isthmus no longer knows the job's options.
    """
    return check_job(_with_its_files(stored, settings))


def _with_its_files(stored: StoredRun, settings: Settings) -> dict[str, Any]:
    """Returns a run's job with those files of plugins that it was trained with.

    Whoever writes to the store of the runs could name any file of this machine, and each that the
    job names is imported.
    """
    named, files = json.dumps(dict(stored.job)), []
    for path in plugin_paths(stored.job, ""):
        file = plugins.PluginFile.read(path)
        found = re.findall(rf"(\w+)@{file.key}\b", named)
        if not any(plugins.defines(file, name) for name in found):
            continue
        if not (settings.trust_plugins or is_of_user(path)):
            raise UsageError(
                f"run {stored.name} needs {path}, which others may have put there; read it, and "
                "use isthmus --trust COMMAND or ISTHMUS_TRUST_PLUGINS=1"
            )
        files.append(str(path))
    return {**stored.job, "plugins": files}


def job_to_resume(stored: StoredRun, overrides: Sequence[str], settings: Settings) -> JobSpec:
    """Returns the job of a stopped run, with what is to be changed.

    Raises:
        UsageError: If a field is named that a resumed run cannot change, or as few epochs as the
            run has done already.
        SpecError: If the changed job has faults.
    """
    if not overrides:
        return job_of(stored, settings)
    job, names = changed_job(_with_its_files(stored, settings), overrides)
    for name in names:
        if not any(f"{name}.".startswith(f"{field}.") for field in CHANGEABLE):
            reason = _REASONS.get(name.partition(".")[0], _ANY_REASON)
            raise UsageError(
                f"--set {name} does not go with --resume: {reason}; a resumed run may change "
                f"{', '.join(CHANGEABLE)}; for the rest start a new run with isthmus train"
            )
    if "training.epochs" in names:
        done = _last(stored, settings, 0).progress.epochs
        if job.training.epochs <= done:
            raise UsageError(
                f"training.epochs={job.training.epochs}: run {stored.name} has done {done} epochs "
                f"already; use more, or end it with isthmus train --finish {stored.run_id[:8]}"
            )
    return job


def refuse_other_data(stored: StoredRun, prepared: Prepared) -> None:
    """Refuses to go on with data that are not those that a run began with.

    Raises:
        UsageError: If they are others.
    """
    if stored.fingerprint and stored.fingerprint != prepared.fingerprint:
        raise UsageError(
            f"the data of run {stored.name} have changed since it began "
            f"({prepared.spec.data.shown_path}); start a new run with isthmus train"
        )


def results_so_far(
    stored: StoredRun, prepared: Prepared, settings: Settings
) -> tuple[Prepared, list[FitResult]]:
    """Returns what a stopped run has: the weights of the best epoch so far of each member.

    Returns:
        The prepared job, whose calibration needs no member that is missing, and the results.

    Raises:
        UsageError: If no epoch of the run is finished and stored.
        TrainingError: If its checkpoints cannot be read.
    """
    found: list[FitResult] = []
    for number in range(members_of(prepared)):
        result = _last(stored, settings, number)
        if result.state is None or not result.progress.epochs:
            break
        found.append(replace(result, progress=replace(result.progress, finished=True)))
    if not found:
        raise UsageError(
            f"run {stored.name} has no checkpoint of a finished epoch, so that there is nothing to "
            f"register; go on with isthmus train --resume {stored.run_id[:8]}"
        )
    if len(found) < members_of(prepared):
        # Each fold needs the member that was not trained on it.
        prepared = replace(prepared, is_crossed=False)
    return prepared, found


def _last(stored: StoredRun, settings: Settings, member: int) -> FitResult:
    name = member_name(stored.run_id, member)
    with CheckpointStorage(settings.storage_path, name).last() as folder:
        return FitResult.read(folder)
