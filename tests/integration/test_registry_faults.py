"""The registry on the real servers, while they stop, lie damaged, or are written to by many."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
import requests

from isthmus import aliases, registry
from isthmus.errors import RegistryError
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.untrained import untrained_pair

pytestmark = [pytest.mark.slow]
PROCESSES = 8


@pytest.fixture
def settings(stack, tmp_path, monkeypatch) -> Settings:
    """A user's who has exported the stack's environment."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack.settings(tmp_path)


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Gives up after a second instead of after half a minute."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("isthmus.registry.patience._PATIENCE_S", 1.0)


@pytest.fixture
def requests_made(monkeypatch) -> list[str]:
    """The paths that were asked for over HTTP."""
    made: list[str] = []
    send = requests.Session.send

    def note(self, request, **kwargs):
        made.append(request.path_url)
        return send(self, request, **kwargs)

    monkeypatch.setattr(requests.Session, "send", note)
    return made


def numbers(settings: Settings, name: str) -> list[int]:
    found = open_store(settings).search_model_versions(f"name='{name}'")
    return sorted(int(version.version) for version in found)


def test_a_warm_resolve_makes_at_most_two_requests(settings, requests_made):
    registry.register_pair(untrained_pair("warm", settings), settings)
    aliases.promote("warm", 1, settings)
    registry.resolve("warm@champion", settings)
    for reference in ("warm", "warm@champion", "warm/1"):
        del requests_made[:]
        registry.resolve(reference, settings)
        assert len(requests_made) <= 2, requests_made
    del requests_made[:]
    aliases.reconcile("warm", settings)
    assert len(requests_made) <= 3, requests_made


def register_and_promote(seed: int, settings: Settings, environment: dict[str, str]) -> None:
    """What each of many processes does once all are there."""
    os.environ.update(environment)
    pair = untrained_pair("crowd", settings, seed)
    settings.home.parent.joinpath(f"ready-{seed}").touch()
    while not settings.home.parent.joinpath("go").exists():
        time.sleep(0.01)
    made = registry.register_pair(pair, settings)
    aliases.promote("crowd", made.version, settings, why=f"number {seed}")


@pytest.mark.timeout(600)
def test_eight_processes_register_and_promote_one_name_at_once(settings, stack, tmp_path):
    # Forked from one that has imported what takes seconds, and has talked to nobody yet.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "mlflow.tracking"])
    environment = dict(stack.environment)
    workers = [
        context.Process(target=register_and_promote, args=(seed, settings, environment))
        for seed in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    try:
        until_s = time.monotonic() + 200
        while len(list(tmp_path.glob("ready-*"))) < PROCESSES:
            assert time.monotonic() < until_s
            assert all(worker.exitcode is None for worker in workers)
            time.sleep(0.05)
        (tmp_path / "go").touch()
        for worker in workers:
            worker.join(200)
        assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    finally:
        for worker in workers:
            worker.kill()
    listed = registry.list_versions("crowd", settings)
    assert [each.version for each in listed] == list(range(PROCESSES, 0, -1))
    assert len({each.pair_id for each in listed}) == PROCESSES
    assert len({each.decoder_version for each in listed}) == PROCESSES
    assert numbers(settings, "crowd-decoder") == list(range(1, PROCESSES + 1))
    events = aliases.history("crowd", settings)
    assert sorted(event.to_version for event in events) == list(range(1, PROCESSES + 1))
    assert [e.from_version for e in events] == [None, *(e.to_version for e in events[:-1])]
    assert {event.source for event in events} == {"command"}
    champions = [each for each in listed if each.aliases]
    assert [(each.version, each.aliases) for each in champions] == [
        (events[-1].to_version, ("champion",))
    ]
    decoder = open_store(settings).get_model_version_by_alias("crowd-decoder", "champion")
    assert int(decoder.version) == champions[0].decoder_version
    assert registry.load("crowd", settings).manifest.pair_id == champions[0].pair_id
    assert aliases.reconcile("crowd", settings) == ()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from isthmus import aliases, registry
from isthmus.spec import Settings
from mlflow.tracking import MlflowClient
from tests.untrained import untrained_pair
create = MlflowClient.create_model_version
def die_at_the_encoder(self, name, *args, **kwargs):
    if name.endswith("-encoder"):
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, name, *args, **kwargs)
MlflowClient.create_model_version = die_at_the_encoder
settings = Settings.from_environment(folder=Path({folder!r}))
registry.register_pair(untrained_pair("killed", settings), settings)
"""


def test_a_process_killed_between_the_halves_leaves_no_half_to_the_next_command(settings, tmp_path):
    code = KILLED.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert numbers(settings, "killed-decoder") == [1]
    assert numbers(settings, "killed-encoder") == []
    (listed,) = registry.list_versions("killed", settings)
    assert (listed.version, listed.decoder_version) == (1, 1)
    assert registry.load("killed/1", settings).manifest.pair_id == listed.pair_id
    assert numbers(settings, "killed-decoder") == [1]


def test_one_byte_changed_in_s3_is_refused_with_the_files_name(settings, stack):
    import boto3

    pair = registry.register_pair(untrained_pair("bitten", settings), settings)
    model = registry.resolve("bitten/1", settings).manifest.models["decoder"]
    s3 = boto3.client("s3")
    (bucket,) = {b["Name"] for b in s3.list_buckets()["Buckets"] if _holds(s3, b["Name"], model)}
    key = _holds(s3, bucket, model)
    content = bytearray(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    content[-1] ^= 1
    s3.put_object(Bucket=bucket, Key=key, Body=bytes(content))
    elsewhere = settings.model_copy(update={"home": settings.home / "another"})
    with pytest.raises(RegistryError, match=r"decoder\.safetensors is damaged") as refused:
        registry.load(str(pair), elsewhere)
    assert "\n" not in str(refused.value)
    assert not any((elsewhere.cache / "pairs").iterdir())


@pytest.mark.parametrize("service", ["postgres", "s3"])
def test_a_server_that_stops_for_a_moment_is_waited_for(settings, stack, service, monkeypatch):
    pair = untrained_pair(f"pause-{service}", settings)
    again = threading.Timer(1.0, stack.start, [service])
    _stop_before(stack, monkeypatch, service, again.start)
    try:
        made = registry.register_pair(pair, settings)
    finally:
        again.join()
        stack.start(service)
    assert (made.version, made.decoder_version) == (1, 1)
    assert len(registry.list_versions(f"pause-{service}", settings)) == 1
    registry.load(str(made), settings)


@pytest.mark.parametrize("service", ["postgres", "s3"])
def test_a_server_that_stays_away_is_one_clear_error_and_nothing_is_half_visible(
    settings, stack, service, monkeypatch, impatient
):
    name = f"away-{service}"
    pair = untrained_pair(name, settings)
    try:
        with monkeypatch.context() as patch:
            _stop_before(stack, patch, service)
            with pytest.raises(RegistryError) as failed:
                registry.register_pair(pair, settings)
    finally:
        stack.start(service)
    assert "\n" not in str(failed.value)
    assert re.search(r"check that it runs", str(failed.value))
    assert name not in [model.name for model in registry.list_models(settings)]
    made = registry.register_pair(pair, settings)
    assert made.version == 1
    assert len(registry.list_versions(name, settings)) == 1


def _stop_before(stack, monkeypatch, service: str, then: Callable[[], object] = bool) -> None:
    """Stops a service when its part of a registration comes: S3's the upload, Postgres' the
    versions."""
    from mlflow.tracking import MlflowClient

    step = "log_model_artifacts" if service == "s3" else "create_model_version"
    call, done = getattr(MlflowClient, step), []

    def stop_then_call(self, *args, **kwargs):
        if not done:
            done.append(service)
            stack.stop(service)
            then()
        return call(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, step, stop_then_call)


def _holds(s3, bucket: str, model_id: str) -> str:
    """The key of a decoder's weights in a bucket; empty if they are not in it."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
    wanted = f"{model_id}/artifacts/data/pair/decoder.safetensors"
    return next((key for key in keys if key.endswith(wanted)), "")
