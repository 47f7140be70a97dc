"""A Ray of our own is closed to other machines, leaves signals alone, and ends with its block."""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from ray._private.ray_constants import DEFAULT_DASHBOARD_PORT

from isthmus.cluster.head import find_head, start_head, stop_head
from isthmus.servers import end_process, identify, start_process
from isthmus.spec import Settings
from isthmus.stack.mlflow_server import MlflowServer
from isthmus.stack.object_store import ObjectStore
from isthmus.stack.place import State
from isthmus.stack.ray_server import RayHead
from tests.project import JOB

pytestmark = pytest.mark.distributed

SCRIPT = """
import atexit, json, os, signal, time
import ray
from isthmus.launch.session import ray_session

@ray.remote(num_cpus=0)
class Hanging:
    def pid(self):
        return os.getpid()
    def leave(self):
        atexit.register(time.sleep, 600)
        ray.actor.exit_actor()

def handlers():
    return [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)]

said = {"handlers_before": handlers()}
with ray_session(None, 1):
    said["handlers_within"] = handlers()
    hanging = Hanging.remote()
    said["hanging"] = ray.get(hanging.pid.remote())
    try:
        ray.get(hanging.leave.remote())
    except ray.exceptions.RayActorError:
        pass
print(json.dumps(said))
"""
# The command `isthmus`, which gets SIGTERM when Ray starts the first of its processes.
ENDED_WHILE_RAY_STARTS = """
import os, signal, sys

def end(event, arguments, at=[True]):
    if event == "subprocess.Popen" and at and "gcs_server" in str(arguments[1]):
        at.clear()
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(end)
from isthmus.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What a process that had a Ray of its own says about it; the process has ended."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path_factory.mktemp("session"),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_process_of_it_is_left(said):
    """Nor one that hangs in its own exit, as Ray Train's controller does at times."""
    pid = said["hanging"]
    until_s = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < until_s:
        time.sleep(0.1)
    is_left = psutil.pid_exists(pid)
    if is_left:
        psutil.Process(pid).kill()
    assert not is_left


def test_the_handlers_of_signals_stay_those_from_before(said):
    assert said["handlers_within"] == said["handlers_before"]


def open_to_others(processes: Iterable[psutil.Process]) -> list[str]:
    """The sockets that these processes listen at and that other machines can reach."""
    listening = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            listening += [
                (process.name(), ipaddress.ip_address(each.laddr.ip), each.laddr.port)
                for each in process.net_connections("inet")
                if each.status == psutil.CONN_LISTEN
            ]
    assert listening, "they listen at nothing at all"
    return [
        f"{name} listens at {address}, port {port}"
        for name, address, port in listening
        if not (getattr(address, "ipv4_mapped", None) or address).is_loopback
    ]


def test_an_embedded_ray_listens_on_loopback_only(ray_session):
    import ray

    # With a worker of its own, which listens too.
    assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
    me = psutil.Process()
    assert open_to_others([me, *me.children(recursive=True)]) == []


def test_the_processes_of_an_embedded_ray_collect_their_garbage_rarely(ray_session):
    import ray

    # A training starts eight of them for two workers, and each imports Ray Train. An actor has a
    # process of its own; those of tasks may have trained, and then collect as usual.
    @ray.remote
    class Asked:
        def threshold(self) -> int:
            return gc.get_threshold()[0]

    assert ray.get(Asked.remote().threshold.remote()) > 10_000


def test_the_processes_of_an_embedded_ray_find_it_whatever_ran_on_this_machine_before(ray_session):
    import ray

    # Ray would ask the one that was started last, and wait for it if it has ended.
    found = ray.get(ray.remote(lambda: os.environ["RAY_ADDRESS"]).remote())
    assert found == ray.get_runtime_context().gcs_address
    assert "RAY_ADDRESS" not in os.environ  # jobs of this process begin a Ray of their own


def test_an_embedded_ray_does_not_take_the_dashboard_of_another_ray_for_its_own(ray_session):
    import ray
    from ray.dashboard.utils import ray_address_to_api_server_url

    # Ray Train asks there whether a training is alive. Any other Ray, which has its dashboard at
    # Ray's own port, would answer that it is not, and the training would lose its workers.
    asked = urlsplit(ray_address_to_api_server_url(ray.get_runtime_context().gcs_address))
    assert asked.port != DEFAULT_DASHBOARD_PORT
    with socket.socket() as client:
        assert client.connect_ex((asked.hostname, asked.port)) != 0, "somebody answers there"


@pytest.mark.slow
def test_a_head_listens_on_loopback_only(tmp_path):
    settings = Settings.from_environment({}, tmp_path)
    head = start_head(settings)
    try:
        process = psutil.Process(head.pid)
        assert open_to_others([process, *process.children(recursive=True)]) == []
    finally:
        stop_head(settings)
        assert find_head(settings) is None


@pytest.mark.slow
def test_the_stacks_ray_listens_on_loopback_only_and_takes_drivers_there(tmp_path):
    head = RayHead()
    names = [name for service in (ObjectStore(), MlflowServer(), head) for name in service.ports]
    place = State(tmp_path / "stack").prepare(names, {})
    log = tmp_path / "log"
    surroundings = {**os.environ, **head.environment(place)}
    started = start_process(head.command(place), log=log, environment=surroundings)
    try:
        until_s = time.monotonic() + 240
        while not head.answers(place):
            assert time.monotonic() < until_s, log.read_text()
            time.sleep(0.5)
        process = psutil.Process(started.pid)
        assert open_to_others([process, *process.children(recursive=True)]) == []
        address = head.client_environment(place)["RAY_ADDRESS"]
        script = (
            "import ray\n"
            "from isthmus.launch.session import ray_session\n"
            f"with ray_session({address!r}, 1):\n"
            "    print(ray.get(ray.put('connected')))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **head.client_environment(place)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.stdout == "connected\n", done.stderr
    finally:
        end_process(identify(started.pid))
        shutil.rmtree(place.scratch, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_in_training_with_two_workers_leaves_a_run_that_can_be_resumed(tmp_path: Path):
    options = ("training.workers=2", "training.epochs=100000", "training.early_stopping=null")
    options += ("training.checkpoint_interval_s=0",)
    command = [sys.executable, "-m", "isthmus", "train", str(JOB)]
    command += [word for each in options for word in ("--set", each)]
    said = tmp_path / "said"
    with said.open("w") as errors:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=errors, stdout=errors)
    try:
        until_s = time.monotonic() + 400
        # Sooner than the first line about an epoch, which comes after half a minute.
        while not any(tmp_path.glob(".isthmus/runs/*/checkpoint_*")):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < until_s, said.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    finally:
        process.kill()
    assert code == 130, said.read_text()
    assert "Go on with: isthmus train --resume " in said.read_text()
    assert "Stack" not in said.read_text()
    assert "Traceback" not in said.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_while_ray_starts_leaves_a_run_that_can_be_resumed(tmp_path: Path):
    command = [sys.executable, "-c", ENDED_WHILE_RAY_STARTS, "train", str(JOB)]
    done = subprocess.run(
        [*command, "--set", "training.workers=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("Stopped. Go on with: isthmus train --resume "), done.stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("KILLED",)]
