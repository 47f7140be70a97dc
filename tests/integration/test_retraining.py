"""The retraining flow on Prefect's real embedded server, once and on a schedule."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import isthmus as package
from isthmus.plugins import files
from isthmus.registry import load
from isthmus.spec import Settings
from isthmus.stack.scheduler import prefect_api
from isthmus.tracking import open_store
from tests.own_plugins import example
from tests.project import JOB

pytestmark = pytest.mark.slow
ONE_WORKER = "training.workers=1"
# So few epochs do not beat it; with fewer, too many rows are above the threshold to be let unseen.
ABOVE_PCA = "promotion.beat_pca=false"
# Of this score AUROC grows with training; scores with a memory find most without it.
BY_ERROR = "scoring=own"
# The nets are alike: which of two is quicker is decided by what else the machine does.
ANY_SPEED = "promotion.max_latency_ratio=1000000"


def test_only_a_challenger_that_is_better_becomes_champion(here):
    settings = Settings.from_environment()
    options = (ONE_WORKER, ABOVE_PCA, BY_ERROR, ANY_SPEED)
    with prefect_api(settings):
        from isthmus_pipelines.retrain import retrain

        first, worse, better = (
            retrain(str(JOB), [f"training.epochs={epochs}", *options]) for epochs in (6, 1, 16)
        )
    verdicts = [each.verdict for each in (first, worse, better)]
    assert verdicts == ["passed", "refused", "passed"]
    assert [each.is_promoted for each in (first, worse, better)] == [True, False, True]
    assert [version.aliases for version in package.versions("digits")] == [("champion",), (), ()]
    assert load("digits", settings).reference == "digits/3"
    client = open_store(settings)
    for half in ("encoder", "decoder"):
        tags = client.get_model_version(f"digits-{half}", "2").tags
        assert tags["isthmus.verdict"] == "refused"
        assert "95 % interval" in tags["isthmus.verdict_reason"]


def test_a_champion_whose_code_may_not_run_here_is_not_replaced_by_a_schedule(
    here, tmp_path_factory, monkeypatch
):
    file = tmp_path_factory.mktemp("own") / "swirl.py"
    file.write_text(f"import colorsys\n{example('python')}", encoding="utf-8")
    settings = Settings.from_environment()
    options = ["training.epochs=2", ONE_WORKER, ABOVE_PCA, ANY_SPEED]
    with prefect_api(settings):
        from isthmus_pipelines.retrain import retrain

        own = retrain(str(JOB), [*options, f"plugins={file}", "variant=swirl"])
        # The next night is in another process, where the file is not: its copy is in the registry.
        file.unlink()
        monkeypatch.setattr(files, "_table", files._Table())
        without = retrain(str(JOB), options)
        monkeypatch.setenv("ISTHMUS_TRUST_PLUGINS", "1")
        consenting = retrain(str(JOB), options)
    assert own.is_promoted
    assert (without.verdict, without.is_promoted) == ("cannot be judged", False)
    assert 'needs the variant "swirl" of swirl.py, which is stored with the pair' in without.reason
    assert package.versions("digits")[-2].aliases == ()
    assert "held-out rows against digits/1" in consenting.reason


@pytest.mark.timeout(900)
def test_a_served_schedule_is_planned_and_runs_when_it_is_its_time(here):
    (here / "pipelines").mkdir()
    (here / "pipelines" / "job.yaml").write_text(JOB.read_text())
    (here / "pipelines" / "schedules.yaml").write_text(
        "schedules:\n"
        "  - {name: nightly, job: job.yaml, cron: '0 3 * * *',"
        f" set: [training.epochs=6, {ONE_WORKER}, {ABOVE_PCA}]}}\n"
    )
    command = [sys.executable, "-m", "isthmus", "schedule", "serve"]
    with (here / "served.txt").open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        url = wait_for(lambda: (here / ".isthmus/prefect/api-url").read_text(), OSError)
        planned, ran = asyncio.run(run_now(url))
        assert planned
        assert ran == "COMPLETED", (here / "served.txt").read_text()
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(60)
        finally:
            server.kill()
    assert server.returncode == 0
    assert package.versions("digits")[0].aliases == ("champion",)
    assert not Path(".isthmus/prefect/api-url").exists()


async def run_now(url: str) -> tuple[bool, str]:
    """Whether runs are planned by the cron; the end of a run that is asked for now."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        async with get_client() as client:
            deadline = time.monotonic() + 240
            while True:
                try:
                    deployment = await client.read_deployment_by_name("retrain/nightly")
                    break
                except ObjectNotFound:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.5)
            run = await client.create_flow_run_from_deployment(deployment.id)
            planned = False
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline:
                found = await client.read_flow_runs(flow_run_filter=FlowRunFilter())
                planned = planned or any(each.state.type == "SCHEDULED" for each in found)
                ended = next(each for each in found if each.id == run.id).state
                if ended.is_final():
                    return planned, str(ended.type.value)
                await asyncio.sleep(1)
    return planned, "not in time"


def wait_for(get, *errors, timeout_s: float = 240):
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if value := get():
                return value
        except errors:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)
