"""A pair behind HTTP on a Ray of several nodes: by `isthmus serve`, and as a RayService."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import isthmus
from isthmus.registry import register_pair
from isthmus.servers import free_port
from isthmus.spec import Settings
from tests.nodes.ray_nodes import Nodes, environment_without_ray, ray_nodes
from tests.own_plugins import example
from tests.servers.mlflow_server import MlflowServer, has_tables
from tests.stores import EmptyStore
from tests.unit.infra.reading import INFRA
from tests.untrained import untrained_pair
from tests.waiting import wait_for

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.timeout(900)]

TOKEN = "a-long-random-text"
ROWS = [[0.0] * 6] * 2
# Each replica takes all CPUs of a node, so no two are on one; and one node is to spare.
CPUS, NODES, REPLICAS = 2, 3, 2


@dataclass
class Cluster:
    """The nodes, and the registry that they ask."""

    nodes: Nodes
    settings: Settings
    folder: Path

    def promote(self, version: int) -> None:
        isthmus.promote("digits", version, settings=self.settings, force=True, why="a test")

    def with_a(self, title: str) -> list[Any]:
        """Returns the nodes that have a process whose title has a text in it."""
        return [each for each in self.nodes.workers if self.nodes.processes(each, title)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, empty_store: EmptyStore) -> Iterator[Cluster]:
    """Serves `digits`, of which there are two versions, and `own`, which needs code of a file."""
    folder = tmp_path_factory.mktemp("nodes")
    server = MlflowServer(folder / "mlflow", empty_store)
    server.start()
    try:
        server.wait()
        settings = Settings.from_environment({"MLFLOW_TRACKING_URI": server.uri}, folder)
        wait_for(lambda: has_tables(settings))
        data = {"path": "rows.csv", "columns": list("abcdef")}
        for seed in range(2):
            register_pair(untrained_pair("digits", settings, seed, data=data), settings)
        file = folder / "swirl.py"
        file.write_text(example("python"), encoding="utf-8")
        own = {"plugins": [str(file)], "variant": "swirl", "data": data}
        register_pair(untrained_pair("own", settings, **own), settings)
        file.unlink()
        for name in ("digits", "own"):
            isthmus.promote(name, 1, settings=settings, force=True, why="a test")
        # Those of the manifest's containers.
        variables = {
            "MLFLOW_TRACKING_URI": server.uri,
            "ISTHMUS_HOME": str(folder / "home"),
            "ISTHMUS_SERVE_TOKEN": TOKEN,
        }
        with ray_nodes(NODES, CPUS, variables) as nodes:
            yield Cluster(nodes, settings, folder)
    finally:
        server.stop()


@dataclass
class Command:
    """A command that runs."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def wait_until_it_answers(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.said
            return "answers at" in self.said

        wait_for(answers)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(240) == 0, self.said
        assert self.said.splitlines()[-1] == "Stopped."


@contextmanager
def serve(cluster: Cluster, *arguments: object, trust: bool = False) -> Iterator[Command]:
    """Runs `isthmus serve` on the cluster for as long as the block lasts."""
    output = cluster.folder / f"said-{time.monotonic_ns()}.txt"
    words = ("--trust",) if trust else ()
    command = (*words, "serve", "--address", cluster.nodes.address, "--device", "cpu", *arguments)
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "isthmus", *map(str, command)],
            stdout=file,
            stderr=file,
            cwd=cluster.folder,
            env={
                **environment_without_ray(),
                "MLFLOW_TRACKING_URI": cluster.settings.tracking_uri,
                **cluster.nodes.variables,
                "COLUMNS": "200",
            },
        )
    try:
        yield Command(process, output)
    finally:
        process.kill()
        process.wait()


@contextmanager
def load_on(url: str) -> Iterator[list[httpx.Response]]:
    """Asks one request after another for as long as the block lasts."""
    answers: list[httpx.Response] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(httpx.post(url, json=ROWS, timeout=60))
            except httpx.HTTPError:
                answers.append(httpx.Response(599))  # the connection broke

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def test_a_service_is_on_several_nodes_beside_others_and_outlives_one_of_them(cluster):
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    pair, shape = "ServeReplica:isthmus-digits:pair", ("--replicas", REPLICAS, "--threads", CPUS)
    with serve(cluster, "--model", "digits", "--port", port, *shape) as first:
        first.wait_until_it_answers()
        wait_for(lambda: len(cluster.with_a(pair)) == REPLICAS)
        with load_on(f"{url}/detect") as answers:
            cluster.promote(2)
            wait_for(
                lambda: answers and all(_of(each, "digits/2") for each in answers[-10:]),
            )
            _another_model_comes_and_goes(cluster, port)
        assert {each.status_code for each in answers} == {200}
        (lost, _) = cluster.with_a(pair)
        cluster.nodes.kill(lost)
        with load_on(f"{url}/detect") as answers:
            wait_for(lambda: len(cluster.with_a(pair)) == REPLICAS)
            before = len(answers)
            wait_for(lambda: len(answers) > before + 20)
            wait_for(lambda: all(_of(each, "digits/2") for each in answers[-20:]))
        first.interrupt()
    # Ray Serve began with this service, and nothing else is served.
    wait_for(lambda: not cluster.nodes.everywhere("ray::Serve"))
    wait_for(lambda: not cluster.nodes.everywhere("ray::ProxyActor"))
    assert not cluster.nodes.everywhere("ServeReplica")


def _of(answer: httpx.Response, reference: str) -> bool:
    return answer.headers.get("X-Isthmus-Pair", "").startswith(f"{reference} ")


def _another_model_comes_and_goes(cluster: Cluster, port: int) -> None:
    """Serves a pair whose code is stored with it, on a node that has no file of it."""
    shape = ("--route", "/own", "--threads", CPUS)
    with serve(cluster, "--model", "own", "--port", port + 1, *shape, trust=True) as refused:
        assert refused.process.wait(240) == 2, refused.said
        assert refused.said.startswith(f"this cluster serves at port {port} of 127.0.0.1 already")
        assert len(refused.said.splitlines()) == 1
    with serve(cluster, "--model", "own", "--port", port, *shape, trust=True) as second:
        second.wait_until_it_answers()
        answer = httpx.post(f"http://127.0.0.1:{port}/own/detect", json=ROWS, timeout=60)
        assert answer.status_code == 200, answer.text
        assert _of(answer, "own/1")
        second.interrupt()
    wait_for(lambda: not cluster.nodes.everywhere("ServeReplica:isthmus-own"))


def test_the_rayservice_of_the_manifest_serves_as_kuberay_deploys_it(cluster):
    manifest = yaml.safe_load((INFRA / "kuberay" / "rayservice.yaml").read_text(encoding="utf-8"))
    config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    port = free_port("127.0.0.1")
    config["http_options"] = {"host": "127.0.0.1", "port": port}  # of a test, not of a pod
    cluster.promote(2)
    deploy(cluster, config)
    url, bearer = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{url}/detect", json=ROWS, timeout=60).status_code == 401
    answer = httpx.post(f"{url}/detect", json=ROWS, headers=bearer, timeout=60)
    assert answer.status_code == 200, answer.text
    assert _of(answer, "digits/2")
    pids = replicas(cluster)
    assert len(pids) == config["applications"][0]["args"]["replicas"]
    cluster.promote(1)  # which the alias in user_config follows
    wait_for(lambda: ready(url)["model"] == "digits/1")
    config["applications"][0]["deployments"][0]["user_config"]["model"] = "digits/2"
    deploy(cluster, config)
    wait_for(lambda: ready(url)["model"] == "digits/2")
    assert ready(url)["follows"] == "digits/2"
    assert replicas(cluster) == pids
    ask_head(cluster, "DELETE")


def ready(url: str) -> dict[str, str]:
    return httpx.get(f"{url}/ready", timeout=60).json()


def replicas(cluster: Cluster) -> set[int]:
    return {each.pid for each in cluster.nodes.everywhere("ServeReplica:isthmus-digits:pair")}


def ask_head(cluster: Cluster, method: str, **content: object) -> httpx.Response:
    url = f"{cluster.nodes.dashboard}/api/serve/applications/"
    answer = httpx.request(method, url, headers=cluster.nodes.bearer, timeout=120, **content)
    assert answer.is_success, answer.text
    return answer


def deploy(cluster: Cluster, config: dict[str, Any]) -> None:
    """Sends a configuration to the head, as KubeRay does, and waits until it runs."""
    ask_head(cluster, "PUT", json=config)
    (name,) = (each["name"] for each in config["applications"])

    def runs() -> bool:
        found = ask_head(cluster, "GET").json()["applications"].get(name, {})
        assert found.get("status") != "DEPLOY_FAILED", found.get("message")
        return found.get("status") == "RUNNING"

    wait_for(runs)
