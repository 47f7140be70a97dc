"""Versions are deleted whole, and never one that something needs."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import isthmus as package
from isthmus import aliases, registry
from isthmus.errors import ModelNotFound, RegistryError, UsageError
from isthmus.tracking import TAG_STARTED_FROM, OutputRecord, OutputRecorder, open_store
from isthmus.tracking.store import as_default_store
from isthmus.upkeep import deleting
from tests.conftest import Command


@pytest.fixture
def in_store(settings, monkeypatch, tmp_path):
    """Makes the registry that of the command line."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    monkeypatch.chdir(tmp_path)


def versions_of(settings, name) -> list[int]:
    found = open_store(settings).search_model_versions(f"name='{name}'")
    return sorted(int(version.version) for version in found)


def halves_of(settings, name) -> tuple[list[int], list[int]]:
    return versions_of(settings, f"{name}-encoder"), versions_of(settings, f"{name}-decoder")


def files_of(settings, name, version) -> Path:
    client = open_store(settings)
    source = client.get_model_version(f"{name}-encoder", str(version)).source
    location = client.get_logged_model(source.removeprefix("models:/")).artifact_location
    return Path(location.removeprefix("file://"))


def record_output(settings, reference: str) -> None:
    manifest = registry.resolve(reference, settings).manifest
    recorder = OutputRecorder(settings)
    record = OutputRecord(
        *("detect", "/data/scores.csv", "host", "0" * 64, "rows.csv", 5),
        *(manifest.pair_id, reference, "2026-01-01T00:00:00+00:00"),
    )
    assert recorder.record(record, list(manifest.models.values()))


def test_a_deleted_version_is_gone_with_its_files_and_the_others_stay(register, settings):
    for seed in range(2):
        register("gone", seed)
    files = files_of(settings, "gone", 1)
    assert (files / "data/pair/pair.json").exists()
    package.delete("gone/1", settings=settings)
    assert halves_of(settings, "gone") == ([2], [2])
    assert not (files / "data").exists()
    with pytest.raises(ModelNotFound, match="has no version 1"):
        registry.resolve("gone/1", settings)
    assert registry.load("gone/2", settings).reference == "gone/2"
    assert register("gone", 2).version == 3  # no number is given twice


def test_history_and_lineage_show_what_was_deleted(register, settings, in_store, isthmus: Command):
    for seed in range(2):
        register("shown", seed)
    run_id = registry.list_versions("shown", settings)[1].run_id
    open_store(settings).log_param(run_id, "data.fingerprint", "a" * 64)
    for version in (1, 2):
        aliases.promote("shown", version, settings)
    assert aliases.champion_before("shown", settings) == 1
    package.delete("shown/1", settings=settings)
    assert aliases.champion_before("shown", settings) is None
    assert [event.deleted for event in package.history("shown", settings=settings)] == [(1,), (1,)]
    assert "1 (deleted)" in isthmus("history", "shown").out
    for what in ("shown/1", "a" * 64):
        (run,) = package.lineage(what, settings=settings).runs
        (pair,) = run.pairs
        assert pair.names == ("shown/1",)
        assert pair.deleted is not None
        assert "shown/1 (pair " in isthmus("lineage", what).out
        assert "; deleted 20" in isthmus("lineage", what).out


def test_what_is_needed_is_refused_in_one_line(register, settings):
    for seed in range(3):
        register("needed", seed)
    aliases.promote("needed", 1, settings)
    aliases.promote("needed", 2, settings, "canary")
    record_output(settings, "needed/3")
    for version, why in ((1, "it is champion"), (2, "it is canary"), (3, "it made /data/scores")):
        with pytest.raises(UsageError, match=f"needed/{version} is kept: {why}") as refused:
            package.delete(f"needed/{version}", settings=settings)
        assert "\n" not in str(refused.value)
    with pytest.raises(ModelNotFound, match='"needed/12345678901234567890" names no model'):
        package.delete("needed/12345678901234567890", settings=settings)
    with pytest.raises(UsageError, match="is no version; write NAME/VERSION"):
        package.delete("needed@champion", settings=settings)
    assert halves_of(settings, "needed") == ([1, 2, 3], [1, 2, 3])


def test_an_alias_of_the_decoder_alone_spares_a_version(register, settings):
    register("half-named")
    open_store(settings).set_registered_model_alias("half-named-decoder", "canary", "1")
    with pytest.raises(UsageError, match="it is canary"):
        package.delete("half-named/1", settings=settings)


def test_a_version_that_another_is_mapped_to_outlives_it(register, settings):
    for seed in range(3):
        register("mapped", seed)
    client = open_store(settings)
    for version in ("2", "3"):
        client.set_model_version_tag("mapped-encoder", version, "isthmus.latents_of", "mapped/1")
    with pytest.raises(UsageError, match="the latents of mapped/3 are mapped to its own"):
        package.delete("mapped/1", settings=settings)
    found = package.prune("mapped", keep=1, settings=settings)
    assert found.deleted == ("mapped/2",)
    assert [str(each) for each in found.spared] == [
        "mapped/1 is kept: the latents of mapped/3 are mapped to its own"
    ]
    # Nothing needs it once what is mapped to it goes too.
    assert package.prune("mapped", keep=0, settings=settings).deleted == ("mapped/1", "mapped/3")


def test_a_chain_of_champions_each_trained_from_the_one_before_does_not_grow_for_ever(
    register, settings, in_store, isthmus: Command
):
    for seed in range(6):
        register("tuned", seed)
    client, versions = open_store(settings), registry.list_versions("tuned", settings)
    for newer, older in pairwise(versions):
        client.set_tag(newer.run_id, TAG_STARTED_FROM, older.pair_id)
        client.log_param(newer.run_id, "training.start_from.model", f"tuned/{older.version}")
        client.log_param(newer.run_id, "data.fingerprint", "b" * 64)
        tag = ("isthmus.latents_of", f"tuned/{older.version}")
        client.set_model_version_tag("tuned-encoder", str(newer.version), *tag)
    for version in (5, 6):
        aliases.promote("tuned", version, settings)
    done = package.prune("tuned", keep=1, settings=settings)
    # Version 5 would be champion again after a rollback, and its latents are mapped to those of 4.
    assert done.deleted == ("tuned/1", "tuned/2", "tuned/3")
    assert [each.name for each in done.spared] == ["tuned/5", "tuned/4"]
    assert registry.load("tuned/6", settings).reference == "tuned/6"
    shown = isthmus("lineage", "tuned/6").out
    assert "started from tuned/3 (pair " in shown
    assert shown.count(", deleted since)") == 3
    (deleted,) = (
        pair
        for run in package.lineage("tuned/3", settings=settings).runs
        for pair in run.pairs
        if pair.names == ("tuned/3",)
    )
    assert deleted.successors == ("tuned/4",)


def test_the_maps_between_two_kept_versions_are_kept(register, settings):
    for seed in range(5):
        register("led", seed)
    client = open_store(settings)
    for version in range(2, 6):
        tag = ("isthmus.latents_of", f"led/{version - 1}")
        client.set_model_version_tag("led-encoder", str(version), *tag)
    record_output(settings, "led/2")
    # The latents of 5 become those of 2, which are stored, through 4 and 3.
    done = package.prune("led", keep=1, settings=settings)
    assert done.deleted == ()
    assert [each.name for each in done.spared] == ["led/4", "led/3", "led/2", "led/1"]


def test_a_version_that_a_stopped_run_starts_from_is_kept_until_it_has_ended(register, settings):
    for seed in range(2):
        register("begun", seed)
    client, oldest = open_store(settings), registry.list_versions("begun", settings)[-1]
    experiment = client.get_run(oldest.run_id).info.experiment_id
    started = {"isthmus.job": "begun", TAG_STARTED_FROM: oldest.pair_id}
    run = client.create_run(experiment, tags=started, run_name="begun-owl-1")
    client.set_terminated(run.info.run_id, "KILLED")
    why = "begun/1 is kept: run begun-owl-1, which is not finished, starts from it"
    with pytest.raises(UsageError, match=f"{why}; end that first with .*--resume begun-owl-1"):
        package.delete("begun/1", settings=settings)
    assert [str(each) for each in package.prune("begun", keep=1, settings=settings).spared] == [why]
    client.set_terminated(run.info.run_id, "FINISHED")
    assert package.prune("begun", keep=1, settings=settings).deleted == ("begun/1",)


def test_prune_keeps_the_newest_and_names_what_it_spares(register, settings):
    for seed in range(6):
        register("many", seed)
    for version in (1, 2):
        aliases.promote("many", version, settings)
    record_output(settings, "many/3")
    shown = package.prune("many", keep=2, dry_run=True, settings=settings)
    assert shown.is_dry_run
    assert shown.deleted == ("many/4",)
    assert halves_of(settings, "many")[0] == [1, 2, 3, 4, 5, 6]
    done = package.prune("many", keep=2, settings=settings)
    assert done.deleted == ("many/4",)
    assert {each.name: each.why.split()[:3] for each in done.spared} == {
        "many/1": ["isthmus", "rollback", "would"],
        "many/2": ["it", "is", "champion"],
        "many/3": ["it", "made", "/data/scores.csv,"],
    }
    assert halves_of(settings, "many") == ([1, 2, 3, 5, 6], [1, 2, 3, 5, 6])
    assert aliases.rollback("many", settings).version == 1


def test_what_a_last_look_spares_is_not_said_to_be_deleted(register, settings, monkeypatch):
    """While it deletes, somebody names a version, which is mapped to an older one."""
    for seed in range(5):
        register("late", seed)
    client = open_store(settings)
    client.set_model_version_tag("late-encoder", "2", "isthmus.latents_of", "late/1")
    runs = {each.version: each.run_id for each in registry.list_versions("late", settings)}
    remove = deleting.remove_pair

    def remove_and_name(*arguments: Any) -> None:
        client.set_registered_model_alias("late-encoder", "canary", "2")
        remove(*arguments)

    monkeypatch.setattr(deleting, "remove_pair", remove_and_name)
    done = package.prune("late", keep=1, runs=True, settings=settings)
    assert done.deleted == ("late/3", "late/4")
    assert [str(each) for each in done.spared[:2]] == [
        "late/2 is kept: it is canary",
        "late/1 is kept: the latents of late/2 are mapped to its own",
    ]
    assert halves_of(settings, "late") == ([1, 2, 5], [1, 2, 5])
    stages = {each: client.get_run(run).info.lifecycle_stage for each, run in runs.items()}
    assert stages == {1: "active", 2: "active", 3: "deleted", 4: "deleted", 5: "active"}


def test_prune_keeps_what_is_younger_than_asked(register, settings):
    register("young")
    kept = package.prune("young", keep=0, older_than=timedelta(days=1), settings=settings)
    assert kept.deleted == ()
    gone = package.prune("young", keep=0, older_than=timedelta(0), settings=settings)
    assert gone.deleted == ("young/1",)


def test_a_copy_by_promote_model_keeps_the_files(register, settings):
    register("copied")
    client = open_store(settings)
    client.copy_model_version("models:/copied-encoder/1", "elsewhere-encoder")
    aliases.reconcile("elsewhere", settings)
    package.delete("copied/1", settings=settings)
    assert registry.load("elsewhere/1", settings).reference == "elsewhere/1"
    aliases.demote("elsewhere", settings, "champion")
    package.delete("elsewhere/1", settings=settings)
    assert halves_of(settings, "elsewhere") == ([], [])


def test_a_registration_by_hand_of_the_same_model_keeps_the_files(register, settings):
    register("handed")
    client = open_store(settings)
    source = client.get_model_version("handed-encoder", "1").source
    client.create_registered_model("by-hand")
    with as_default_store(settings.tracking_uri):
        client.create_model_version("by-hand", source, model_id=source.removeprefix("models:/"))
    files = files_of(settings, "handed", 1)
    package.delete("handed/1", settings=settings)
    assert (files / "data/pair/pair.json").exists()


@pytest.mark.parametrize("command", ["list", "delete", "prune"])
def test_the_next_command_ends_a_deletion_that_died_between_the_halves(
    register, settings, monkeypatch, command
):
    from mlflow.tracking import MlflowClient

    name = f"halved-{command}"
    for seed in range(2):
        register(name, seed)
    delete = MlflowClient.delete_model_version

    def die_at_the_decoder(self, registered, version):
        if registered.endswith("-decoder"):
            raise ConnectionResetError("the server is gone")
        return delete(self, registered, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_model_version", die_at_the_decoder)
        with pytest.raises(RegistryError, match="the server is gone"):
            package.delete(f"{name}/1", settings=settings)
    assert halves_of(settings, name) == ([2], [1, 2])
    if command == "list":
        assert [each.version for each in registry.list_versions(name, settings)] == [2]
    elif command == "delete":
        package.delete(f"{name}/2", settings=settings)
    else:
        package.prune(name, settings=settings)
    assert halves_of(settings, name) == (([], []) if command == "delete" else ([2], [2]))
    tags = open_store(settings).get_registered_model(f"{name}-encoder").tags
    assert not [key for key in tags if key.startswith("isthmus.deleting.")]


def test_old_runs_are_deleted_when_asked_and_never_one_behind_a_version(
    register, trained, settings
):
    register("ran", 0)
    failed = trained("ran", 1).run_id
    register("ran", 2)
    register("ran", 3)
    client = open_store(settings)
    client.set_terminated(failed, "FAILED")
    client.log_text(failed, "a log", "log.txt")
    running = trained("ran", 4).run_id
    client.update_run(running, "RUNNING")
    checkpoints = Path(settings.storage_path) / failed / "checkpoint_1"
    checkpoints.mkdir(parents=True)
    client.set_tag(failed, "isthmus.storage_path", settings.storage_path)
    artifacts = Path(client.get_run(failed).info.artifact_uri.removeprefix("file://"))
    assert package.prune("ran", keep=3, settings=settings).runs == ()
    versions = {each.version: each.run_id for each in registry.list_versions("ran", settings)}

    shown = package.prune("ran", keep=1, runs=True, dry_run=True, settings=settings)
    assert len(shown.runs) == 3
    done = package.prune("ran", keep=1, runs=True, settings=settings)
    assert done.deleted == ("ran/1", "ran/2")
    assert sorted(done.runs) == sorted(shown.runs)
    stage = {run: client.get_run(run).info.lifecycle_stage for run in (failed, *versions.values())}
    assert stage == {
        failed: "deleted",
        versions[1]: "deleted",
        versions[2]: "deleted",
        versions[3]: "active",
    }
    assert not artifacts.exists()
    assert not checkpoints.parent.exists()
    aliases.promote("ran", 3, settings)
    done = package.prune("ran", keep=0, runs=True, settings=settings)
    assert [each.why for each in done.spared] == [
        "it is champion",
        "it is running",
        "it made ran/3",
    ]


def test_prune_names_mlflow_gc_only_after_it_has_deleted_runs(
    register, settings, in_store, isthmus: Command
):
    for seed in range(3):
        register("swept", seed)
    prune = ("prune", "swept", "--keep", "1")
    assert "mlflow gc" not in isthmus(*prune, "--runs", "--dry-run").out
    done = isthmus(*prune, "--runs", "--yes")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith("MLflow keeps the records of deleted runs")
    assert "mlflow gc" not in isthmus(*prune, "--yes").out


def test_a_command_without_a_terminal_needs_yes(register, settings, in_store, isthmus: Command):
    for seed in range(2):
        register("asked", seed)
    refused = isthmus("delete", "asked/1")
    assert refused.code == 2
    assert refused.err.strip().endswith("add --yes")
    assert len(refused.err.strip().splitlines()) == 1
    pruned = isthmus("prune", "asked", "--keep", "1", "--json")
    assert pruned.code == 2
    assert halves_of(settings, "asked")[0] == [1, 2]
    shown = isthmus("prune", "asked", "--keep", "1", "--dry-run")
    assert "1 version would be deleted: asked/1" in shown.out
    done = isthmus("prune", "asked", "--keep", "1", "--yes", "--json")
    assert json.loads(done.out)["deleted"] == ["asked/1"]
    assert isthmus("delete", "asked/2", "--yes").out.strip() == "asked/2 is deleted"
    assert isthmus("prune", "asked", "--older-than", "soon").code == 2
    assert isthmus("prune", "nobody").code == 2
