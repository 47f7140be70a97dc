"""A pair behind HTTP: a real service on the tests' Ray, asked by real clients."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx
import numpy as np
import psutil
import pytest

import isthmus
from isthmus.errors import UsageError
from isthmus.registry import RegisteredPair, register_pair
from isthmus.serve.options import Place, ServeOptions, digest_of_token
from isthmus.serve.server import Service, serving
from isthmus.servers import free_port
from isthmus.spec import RowSchema, Settings
from isthmus.types import DataKind
from tests.servers.mlflow_server import MlflowServer, has_tables
from tests.stores import EmptyStore
from tests.titles import title_of
from tests.untrained import untrained_pair
from tests.waiting import wait_for

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

RNG = np.random.default_rng(0)
TOKEN = "a-long-random-text"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NPZ = {**BEARER, "Content-Type": "application/x-npz"}
# What the pair's training rows were like.
SCHEMA = RowSchema(
    kind=DataKind.TABULAR,
    shape=(6,),
    features=tuple("abcdef"),
    lowest=(-9.0,) * 6,
    highest=(9.0,) * 6,
)
QUEUE, REPLICAS, FOLLOW_S, MOST_MIB = 8, 2, 0.3, 1


@dataclass
class Running:
    """A service, and what it rests on."""

    service: Service
    settings: Settings
    mlflow: MlflowServer
    versions: tuple[RegisteredPair, ...]

    @property
    def url(self) -> str:
        return self.service.url

    def post(self, verb: str, content: object, **more: object) -> httpx.Response:
        headers = {**BEARER, **more.pop("headers", {})}
        return httpx.post(f"{self.url}/{verb}", json=content, headers=headers, timeout=60, **more)

    def ready(self) -> dict[str, object]:
        return httpx.get(f"{self.url}/ready", timeout=30).json()

    def promote(self, version: int) -> None:
        isthmus.promote("six", version, settings=self.settings, force=True, why="a test")


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, ray_session: None, empty_store: EmptyStore
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serve")
    server = MlflowServer(folder / "mlflow", empty_store)
    server.start()
    try:
        server.wait()
        settings = Settings.from_environment({"MLFLOW_TRACKING_URI": server.uri}, folder)
        wait_for(lambda: has_tables(settings))
        data = {"path": "rows.csv", "columns": list("abcdef")}
        versions = tuple(
            register_pair(
                replace(untrained_pair("six", settings, seed, data=data), row_schema=SCHEMA),
                settings,
            )
            for seed in range(2)
        )
        isthmus.promote("six", 1, settings=settings, force=True, why="a test")
        options = ServeOptions(
            model="six@champion",
            replicas=REPLICAS,
            queue=QUEUE,
            follow_s=FOLLOW_S,
            max_request_mib=MOST_MIB,
            token_sha256=digest_of_token(TOKEN),
        )
        place = Place(port=free_port("127.0.0.1"))
        with serving(options, place, settings) as service:
            yield Running(service, settings, server, versions)
    finally:
        server.stop()


def rows_of(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 6)).astype(np.float32)


def npz_of(rows: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, x=rows)
    return content.getvalue()


def test_an_answer_is_that_of_the_pair_and_names_it(running):
    rows = rows_of(3)
    answer = running.post("detect", {"rows": rows.tolist()})
    assert answer.status_code == 200, answer.text
    pair = isthmus.load("six/1", device="cpu", settings=running.settings)
    assert answer.headers["X-Isthmus-Pair"] == f"six/1 {pair.manifest.pair_id}"
    found = [row["score"] for row in answer.json()["rows"]]
    np.testing.assert_allclose(found, pair.detect(rows).scores, rtol=1e-4)
    embedded = running.post("embed", {"rows": rows.tolist()}).json()
    decoded = running.post("decode", embedded).json()
    np.testing.assert_allclose(decoded["rows"], pair.reconstruct(rows), rtol=1e-3, atol=1e-4)
    denoised = httpx.post(f"{running.url}/denoise", content=npz_of(rows), headers=NPZ, timeout=60)
    assert denoised.headers["content-type"] == "application/x-npz"
    np.testing.assert_allclose(
        np.load(io.BytesIO(denoised.content))["x"], pair.denoise(rows), rtol=1e-3, atol=1e-4
    )


def test_requests_that_come_together_get_their_own_rows(running):
    pair = isthmus.load("six/1", device="cpu", settings=running.settings)
    requests = [rows_of(count) for count in RNG.integers(1, 9, 40)]

    def ask(rows: np.ndarray) -> httpx.Response:
        return running.post("detect", rows.tolist())

    with ThreadPoolExecutor(6) as pool:
        for rows, answer in zip(requests, pool.map(ask, requests), strict=True):
            found = [row["score"] for row in answer.json()["rows"]]
            np.testing.assert_allclose(found, pair.detect(rows).scores, rtol=1e-4)


@pytest.mark.parametrize(
    ("verb", "content", "status", "said"),
    [
        ("detect", {"records": [{"a": 1}]}, 422, 'no column "b", "c", "d", "e", "f"'),
        ("detect", {"rows": [[1, 2]]}, 422, "request: "),
        ("detect", {"cells": []}, 400, '"rows"'),
        ("decode", {"latents": [[0, 0]], "pair_id": "other"}, 409, "by pair other"),
        ("detect?false_alarm_rate=2", [[0] * 6], 422, "less than 1"),
        ("detect?false_alarm_rate=1e-9", [[0] * 6], 400, "calibration rows"),
        ("nothing", [[0] * 6], 404, "Not Found"),
    ],
)
def test_what_is_wrong_is_one_line_of_json_with_a_status_of_its_own(
    running, verb, content, status, said
):
    answer = running.post(verb, content)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_the_wrong_form_token_or_size_is_refused(running):
    url, body = f"{running.url}/detect", json.dumps([[0] * 6]).encode()
    client = httpx.Client(timeout=60)
    unknown = client.post(url, content=body, headers={**BEARER, "Content-Type": "text/html"})
    assert unknown.status_code == 415
    zipped = client.post(url, content=body, headers={**BEARER, "Content-Encoding": "gzip"})
    assert zipped.status_code == 415
    for given in ({}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {TOKEN}"}):
        refused = client.post(url, content=body, headers=given)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get(f"{running.url}/metrics", headers=given).status_code == 401
    large = b"0" * (MOST_MIB * 2**20 + 1)
    assert client.post(url, content=large, headers=NPZ).status_code == 413
    chunks = (large[first : first + 2**16] for first in range(0, len(large), 2**16))
    assert client.post(url, content=chunks, headers=NPZ).status_code == 413
    assert running.post("detect", [[0] * 6]).status_code == 200


def test_more_requests_than_may_wait_are_told_when_to_ask_again(running):
    body = npz_of(rows_of(20_000))

    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{running.url}/denoise", content=body, headers=NPZ, timeout=120)

    with ThreadPoolExecutor(6 * QUEUE) as pool:
        answers = list(pool.map(ask, range(12 * QUEUE)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert "are waiting already" in refused.json()["error"]
    assert running.post("detect", [[0] * 6]).status_code == 200


def test_strange_rows_are_answered_with_a_warning(running):
    answer = running.post("detect", [[1e5] * 6])
    assert answer.status_code == 200
    assert "far outside the trained range" in answer.headers["X-Isthmus-Warning"]
    assert "X-Isthmus-Warning" not in running.post("detect", [[0.5] * 6]).headers


def test_the_page_the_health_and_the_figures_are_there(running):
    client = httpx.Client(base_url=running.url, timeout=60, follow_redirects=True)
    assert client.get("/health").json() == {"status": "ok"}
    ready = running.ready()
    assert (ready["ready"], ready["model"], ready["follows"]) == (True, "six/1", "six@champion")
    assert (ready["trouble"], ready["since"]) == ("", "")
    page = client.get("/openapi.json").json()
    assert {"/detect", "/denoise", "/embed", "/decode"} <= set(page["paths"])
    takes = page["paths"]["/detect"]["post"]["requestBody"]["content"]
    assert {"application/json", "application/x-npz", "image/png", "audio/wav"} <= set(takes)
    assert client.get("/").status_code == 200
    running.post("detect", [[0] * 6])
    figures = client.get("/metrics", headers=BEARER).text
    assert 'isthmus_serve_requests_total{pair="six/1",status="200",verb="detect"}' in figures
    assert 'isthmus_serve_request_seconds_count{verb="detect"}' in figures


@contextmanager
def load_on(running: Running) -> Iterator[list[httpx.Response]]:
    """Asks from several threads for as long as the block lasts."""
    answers: list[httpx.Response] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60, headers=BEARER) as client:
            while not ended.is_set():
                answers.append(client.post(f"{running.url}/detect", json=rows_of(2).tolist()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        yield answers
    finally:
        ended.set()
        for each in threads:
            each.join()


def replicas() -> list[psutil.Process]:
    """Returns the processes of this test's own Ray that hold the pair."""
    nodes = [each for each in psutil.Process().children() if each.name() == "raylet"]
    below = [each for node in nodes for each in node.children(recursive=True)]
    return [each for each in below if "ServeReplica:isthmus-six:pair" in title_of(each)]


def test_promotions_are_followed_without_a_failed_request(running):
    with load_on(running) as answers:
        for version in (2, 1, 2):
            running.promote(version)
            wait_for(
                lambda version=version: any(
                    answer.headers["X-Isthmus-Pair"].startswith(f"six/{version} ")
                    for answer in answers[-1:]
                )
            )
    assert {answer.status_code for answer in answers} == {200}
    named = {answer.headers["X-Isthmus-Pair"] for answer in answers}
    assert named == {f"six/{each.version} {each.pair_id}" for each in running.versions}
    running.promote(1)
    wait_for(lambda: running.ready()["model"] == "six/1")


def test_a_replica_that_is_killed_fails_no_request(running):
    assert len(replicas()) == REPLICAS
    with load_on(running) as answers:
        wait_for(lambda: len(answers) > 20)
        os.kill(replicas()[0].pid, signal.SIGKILL)
        before = len(answers)
        wait_for(lambda: len(answers) > before + 50)
        wait_for(lambda: len(replicas()) == REPLICAS)
    assert {answer.status_code for answer in answers} == {200}


def test_the_last_verified_pair_goes_on_while_the_registry_is_away(running):
    running.mlflow.stop()
    try:
        wait_for(lambda: bool(running.ready()["trouble"]))
        assert running.ready()["ready"] is True
        assert running.ready()["since"]
        assert running.post("detect", [[0] * 6]).status_code == 200
        for each in replicas():
            os.kill(each.pid, signal.SIGKILL)
        answer = running.post("detect", [[0] * 6])
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Isthmus-Pair"].startswith("six/1 ")
    finally:
        running.mlflow.start()
        running.mlflow.wait()
    wait_for(lambda: not running.ready()["trouble"])
    running.promote(2)
    wait_for(lambda: running.ready()["model"] == "six/2")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(host="0.0.0.0"), "set ISTHMUS_SERVE_TOKEN"),
        (Place(route="six"), "does not begin with a slash"),
        (Place(device="gpu"), "needs a GPU"),
    ],
    ids=["open to others", "route", "gpu"],
)
def test_a_place_that_cannot_be_is_refused_before_anything_starts(place, said, tmp_path):
    settings = Settings.from_environment({}, tmp_path)
    with pytest.raises(UsageError, match=said), serving(ServeOptions(model="a"), place, settings):
        pass
