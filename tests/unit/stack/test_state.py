"""What the stack remembers, what its clients are told, and what it refuses before it starts."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from isthmus.errors import IsthmusError, UsageError
from isthmus.servers import ServerProcess, end_process, identify, is_alive, start_process
from isthmus.stack import local
from isthmus.stack.local import SERVICES, Stack, with_required
from isthmus.stack.log import read_log
from isthmus.stack.mlflow_server import MlflowServer
from isthmus.stack.place import HOST, State

NAMES = [name for service in SERVICES for name in service.ports]


@pytest.fixture
def sleeper(tmp_path):
    """A server that does nothing, with a child that does nothing."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '99']); print(1); time.sleep(99)"
    log = tmp_path / "log"
    process = start_process([sys.executable, "-uc", code], log=log, environment=os.environ)
    while not log.read_text():
        time.sleep(0.01)
    started = identify(process.pid)
    yield started
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def stack(tmp_path):
    """Chosen for, and with a process that runs as if it were MLflow."""
    found = Stack(tmp_path / "stack")
    State(found.folder).prepare(NAMES, {})
    return found


def test_ports_and_passwords_are_chosen_once(tmp_path):
    first = State(tmp_path).prepare(NAMES, {"mlflow": 5000})
    again = State(tmp_path).prepare(NAMES, {})
    assert (again.ports, again.secrets) == (first.ports, first.secrets)
    assert first.ports["mlflow"] == 5000
    assert len(set(first.ports.values())) == len(NAMES)
    assert len(set(first.secrets.values())) == len(first.secrets)


def test_nobody_else_reads_the_passwords(tmp_path):
    State(tmp_path / "stack").prepare(NAMES, {})
    for file in ("secrets.json", "state.json"):
        assert (tmp_path / "stack" / file).stat().st_mode & 0o777 == 0o600
    # As root, the user whom Postgres runs as passes through, and sees no list of what is there.
    assert (tmp_path / "stack").stat().st_mode & 0o066 == 0


def test_a_damaged_state_is_said_with_its_file(tmp_path):
    State(tmp_path).prepare(NAMES, {})
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(IsthmusError, match=r"state\.json is damaged"):
        Stack(tmp_path).status()


def test_a_process_is_known_by_its_birth_and_not_by_its_number(sleeper):
    assert is_alive(sleeper)
    namesake = ServerProcess(sleeper.pid, sleeper.created_s - 60)
    assert not is_alive(namesake)
    end_process(namesake)
    assert is_alive(sleeper)


def test_a_process_ends_with_its_children_also_when_it_is_deaf(tmp_path):
    code = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen(['sleep', '99']).pid); time.sleep(99)"
    )
    log = tmp_path / "log"
    process = start_process([sys.executable, "-uc", code], log=log, environment=os.environ)
    while not log.read_text():
        time.sleep(0.01)
    started = identify(process.pid)
    end_process(started, timeout_s=0.2)
    assert not is_alive(started)
    child = identify(int(log.read_text()))
    assert not is_alive(child)


def test_clients_are_told_of_what_was_started_and_of_nothing_else(stack, sleeper):
    State(stack.folder).started("s3", sleeper)
    assert set(stack.environment()) >= {"ISTHMUS_STORAGE", "AWS_ENDPOINT_URL"}
    assert not {"MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PREFECT_API_URL"} & set(stack.environment())
    State(stack.folder).started("ray", sleeper)
    assert stack.environment()["RAY_AUTH_MODE"] == "token"


def test_a_stack_that_was_never_started_has_no_environment(tmp_path):
    with pytest.raises(UsageError, match="isthmus stack up"):
        Stack(tmp_path / "none").environment()


def test_what_env_prints_is_read_back_by_a_shell(here, isthmus, sleeper):
    folder = here / "a 'quoted' $folder"
    place = State(folder).prepare(NAMES, {})
    State(folder).started("mlflow", sleeper)
    printed = isthmus("stack", "env", "--folder", folder)
    assert printed.err == ""
    script = f'{printed.out}\nprintf %s "$MLFLOW_TRACKING_URI"'
    read = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert read.stdout == f"http://{HOST}:{place.ports['mlflow']}"
    assert all(shlex.split(line)[0] == "export" for line in printed.out.splitlines())


def test_what_was_started_and_runs_no_more_is_down(here, isthmus, stack, sleeper):
    State(stack.folder).started("mlflow", sleeper)
    os.kill(sleeper.pid, signal.SIGKILL)
    shown = isthmus("stack", "status", "--folder", stack.folder)
    assert shown.code == 1
    states = {line.split()[0]: line for line in shown.out.splitlines()}
    assert "down" in states["mlflow"]
    assert "not started" in states["postgres"]


def test_with_a_service_comes_what_it_requires():
    assert [each.name for each in with_required(["mlflow"])] == ["postgres", "s3", "mlflow"]
    assert [each.name for each in with_required(["ray"])] == ["postgres", "s3", "mlflow", "ray"]
    assert with_required([]) == SERVICES
    with pytest.raises(UsageError, match='did you mean "mlflow"'):
        with_required(["mlfow"])


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        stack = Stack(tmp_path / "stack")
        with pytest.raises(UsageError, match=f"port {port} .*--port prefect=PORT"):
            stack.up(["prefect"], {"prefect": port})
        assert not State(stack.folder).processes
        assert State(stack.folder).ports.get("prefect") != port


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"mlfow": 5000}, 'did you mean "mlflow"'),
        ({"mlflow": 70000}, "no port"),
        ({"mlflow": 5000, "s3": 5000}, "cannot have port 5000"),
    ],
    ids=["an unknown name", "too large", "one for two"],
)
def test_a_wrong_port_is_refused(tmp_path, ports, said):
    with pytest.raises(UsageError, match=said):
        Stack(tmp_path / "stack").up([], ports)


def test_a_port_is_not_changed_under_what_runs(stack, sleeper):
    State(stack.folder).started("mlflow", sleeper)
    with pytest.raises(UsageError, match="isthmus stack down"):
        stack.up(["prefect"], {"prefect": 5000})


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be used .*--folder"):
        Stack(tmp_path / "file" / "stack").up(["prefect"])


def test_as_root_a_folder_that_postgres_cannot_enter_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tmp_path.chmod(0o700)
    with pytest.raises(UsageError, match=r"refuses to run as root.*chmod o\+x"):
        Stack(tmp_path / "stack").up(["postgres"])


def test_down_forgets_and_wipe_deletes(stack, sleeper):
    State(stack.folder).started("mlflow", sleeper)
    stack.down()
    assert not is_alive(sleeper)
    assert {each.state for each in stack.status()} == {"not started"}
    assert (stack.folder / "secrets.json").exists()
    stack.down(wipe=True)
    assert not stack.folder.exists()


def test_wiping_asks_first(here, isthmus, stack, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert isthmus("stack", "down", "--wipe", "--folder", stack.folder).code == 1
    assert stack.folder.exists()
    assert isthmus("stack", "down", "--wipe", "--yes", "--folder", stack.folder).code == 0
    assert not stack.folder.exists()


def test_what_is_no_stack_is_not_wiped(here, isthmus):
    thesis = here / "thesis"
    thesis.mkdir()
    (thesis / "thesis.txt").write_text("years")
    said = isthmus("stack", "down", "--wipe", "--yes", "--folder", thesis)
    assert said.code != 0
    assert "no stack's folder" in " ".join(said.err.split())
    assert (thesis / "thesis.txt").read_text() == "years"


def test_nothing_else_starts_while_all_is_deleted(stack, monkeypatch):
    from filelock import FileLock, Timeout

    real, is_locked = shutil.rmtree, []

    def look(folder, **options):
        if folder == stack.folder:
            try:
                with FileLock(f"{folder}.lock", timeout=0):
                    is_locked.append(False)
            except Timeout:
                is_locked.append(True)
        real(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", look)
    stack.down(wipe=True)
    assert is_locked == [True]
    assert not stack.folder.exists()


def test_who_runs_a_service_as_another_user_does_not_give_away_secrets(stack, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    service = next(service for service in SERVICES if service.name == "prefect")
    code = "import os; print('told', 'MY_TOKEN' in os.environ, 'PATH' in os.environ)"
    monkeypatch.setattr(type(service), "command", lambda *_: [sys.executable, "-Sc", code])
    monkeypatch.setattr(type(service), "answers", lambda *_: False)
    log = stack.log("prefect")
    with pytest.raises(IsthmusError, match="ended with code 0"):
        stack.up(["prefect"])
    assert log.read_text() == "told True True\n"
    assert log.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(type(service), "user", lambda self: "nobody")
    monkeypatch.setattr("isthmus.servers.run_as", lambda user: {})
    with pytest.raises(IsthmusError, match="ended with code 0"):
        stack.up(["prefect"])
    assert log.read_text().endswith("told False True\n")


def test_a_second_up_waits_for_the_first(stack, monkeypatch):
    from threading import Thread

    waited = []
    with stack._sole():
        second = Thread(target=lambda: (stack.down(), waited.append(time.monotonic())))
        second.start()
        time.sleep(0.2)
        assert not waited
    second.join(10)
    assert waited


def test_the_last_lines_of_a_log_are_shown(tmp_path):
    file = tmp_path / "log"
    file.write_text("".join(f"{number}\n" for number in range(9)))
    assert list(read_log(file, 2)) == ["7", "8"]
    assert list(read_log(tmp_path / "none", 2)) == []
    following = read_log(file, 1, follow=True)
    assert next(following) == "8"
    with file.open("a") as opened:
        opened.write("9\n")
    assert next(following) == "9"


def test_mlflow_still_reads_the_variables_that_we_set(tmp_path):
    from mlflow.environment_variables import (
        _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS,
        _MLFLOW_WEBHOOK_ALLOWED_SCHEMES,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION,
        MLFLOW_WEBHOOK_CACHE_TTL,
        MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY,
    )
    from mlflow.server import constants

    place = State(tmp_path).prepare(NAMES, {})
    known = {value for name, value in vars(constants).items() if name.endswith("_ENV_VAR")} | {
        _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS.name,
        _MLFLOW_WEBHOOK_ALLOWED_SCHEMES.name,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION.name,
        MLFLOW_WEBHOOK_CACHE_TTL.name,
        MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.name,
    }
    ours = {name for name in MlflowServer().environment(place) if "MLFLOW" in name}
    assert ours <= known


def test_every_service_says_in_time_when_it_does_not_start(stack, monkeypatch):
    broken = next(service for service in SERVICES if service.name == "prefect")
    monkeypatch.setattr(
        type(broken), "command", lambda self, place: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    monkeypatch.setattr(local, "_PATIENCE_S", 0.1)
    with pytest.raises(IsthmusError, match=r"Prefect ended with code 3; see .*prefect\.log"):
        stack.up(["prefect"])
    assert not State(stack.folder).processes
