from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from isthmus.errors import RegistryError, UsageError
from isthmus.spec import Settings
from isthmus.tracking import RunLog, open_store, store


def _settings(uri: str, folder: Path) -> Settings:
    return Settings.from_environment({"MLFLOW_TRACKING_URI": uri}, folder)


@pytest.mark.usefixtures("stores_from_nothing")
def test_the_folder_of_an_embedded_store_is_created(tmp_path):
    settings = Settings.from_environment({}, tmp_path / "a store #1" / "below")
    assert open_store(settings).get_experiment("0").name == "Default"
    assert store.database_file(settings.tracking_uri).is_file()


@pytest.mark.usefixtures("stores_from_nothing")
def test_a_store_is_flushed_once_while_it_is_made_and_at_every_commit_afterwards(
    folder_settings, monkeypatch
):
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    upgrade, levels, flushed, flush = utils._upgrade_db, [], [], os.fsync

    def noted_upgrade(engine) -> None:
        levels.append(_flushing_of(engine))
        upgrade(engine)

    def noted_flush(opened) -> None:
        flushed.append(opened.name)
        flush(opened)

    monkeypatch.setattr(utils, "_upgrade_db", noted_upgrade)
    monkeypatch.setattr(os, "fsync", noted_flush)
    open_store(folder_settings)
    file = store.database_file(folder_settings.tracking_uri)
    assert levels == [_NEVER]
    assert flushed == [str(file)]
    # MLflow keeps one engine for each store.
    engine = SqlAlchemyStore(folder_settings.tracking_uri, str(file.parent)).engine
    assert _flushing_of(engine) == _AT_EVERY_COMMIT


_NEVER, _AT_EVERY_COMMIT = 0, 2  # as SQLite numbers them


def _flushing_of(engine) -> int:
    with engine.connect() as connection:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar()


def test_a_store_in_memory_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store(_settings("sqlite:///:memory:", tmp_path)).get_experiment("0") is not None


_START_A_RUN = """
import sys
from pathlib import Path
from isthmus.spec import JobSpec, Settings
from isthmus.tracking import RunLog
spec = JobSpec.model_validate({"name": "race", "data": "x.npz"})
log = RunLog.start(spec, Settings.from_environment({}, Path(sys.argv[1])))
log.finish()
print(log.experiment_id, log.run_id)
"""


@pytest.mark.slow
def test_processes_that_create_the_same_store_and_experiment_at_once_share_them(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _START_A_RUN, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    output = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    experiments, runs = zip(*(out.split() for out, _ in output), strict=True)
    assert len(set(experiments)) == 1
    assert len(set(runs)) == 2
    assert [noise for _, noise in output] == ["", ""]


def test_a_server_that_is_not_there_is_one_clear_line_within_seconds(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    store.import_mlflow()  # takes seconds of its own
    began_s = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        open_store(_settings(uri, tmp_path))
    assert time.monotonic() - began_s < 10
    assert str(caught.value) == (
        f"MLflow at {uri} does not answer; check that it runs, or set MLFLOW_TRACKING_URI to "
        "sqlite:///FILE or http://HOST:PORT"
    )


def test_a_server_that_listens_and_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_PROBE_TIMEOUT_S", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryError, match="does not answer"):
            open_store(_settings(uri, tmp_path))


def test_a_database_server_that_is_not_there_is_one_line_without_the_password(tmp_path):
    uri = "postgresql://isthmus:secret@127.0.0.1:1/mlflow"
    with pytest.raises(RegistryError, match="does not answer") as caught:
        open_store(_settings(uri, tmp_path))
    assert "isthmus:***@127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(RegistryError, match=r"file is not a database; check the file") as caught:
        open_store(_settings(f"sqlite:///{file}", tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns", "ftp://host/x"])
def test_an_address_of_another_kind_is_refused(uri, tmp_path):
    with pytest.raises(RegistryError, match="is no store that Isthmus can use"):
        open_store(_settings(uri, tmp_path))


def test_the_schema_of_another_mlflow_version_names_the_command_that_helps(
    settings, client, tmp_path
):
    file = tmp_path / "mlflow.db"
    with (
        closing(sqlite3.connect(store.database_file(settings.tracking_uri))) as source,
        closing(sqlite3.connect(file)) as copy,
    ):
        source.backup(copy)
        copy.execute("UPDATE alembic_version SET version_num = 'abc'")
        copy.commit()
    with pytest.raises(RegistryError, match=f"run: mlflow db upgrade sqlite:///{file}"):
        open_store(_settings(f"sqlite:///{file}", tmp_path))


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(settings, client, spec):
    experiment_id = client.create_experiment(spec.name)
    client.delete_experiment(experiment_id)
    with pytest.raises(UsageError, match=f"restore --experiment-id {experiment_id}"):
        RunLog.start(spec, settings)


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, isthmus.tracking; "
        "heavy = {'mlflow', 'torch', 'ray', 'pandas', 'sklearn', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("stores_from_nothing")
def test_a_store_that_a_full_disk_left_half_made_is_removed(folder_settings, monkeypatch):
    from mlflow.store.db import utils

    monkeypatch.setattr(utils, "_upgrade_db", _disk_is_full)
    with pytest.raises(RegistryError, match="disk is full; free its disk, or set"):
        open_store(folder_settings)
    file = store.database_file(folder_settings.tracking_uri)
    assert not file.exists(), "half of the tables would keep MLflow from ever making the others"


def _disk_is_full(engine) -> None:
    raise OSError("database or disk is full")
