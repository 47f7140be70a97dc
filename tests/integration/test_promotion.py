"""Clicks in MLflow's page, on Postgres, S3 and MLflow as a team has them.

The page sets an alias by the same request as `MlflowClient.set_registered_model_alias`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from isthmus.aliases import history
from isthmus.data import sidecar_path
from isthmus.promotion import promote
from isthmus.promotion.receiver import PATH, listen, register_until_the_end
from isthmus.promotion.watch import Watcher
from isthmus.registry import annotation, load
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.challengers import BAD_STEPS, GOOD_STEPS, register, write_rows
from tests.using import detect

pytestmark = pytest.mark.slow
SECRET = "0123456789abcdef0123456789abcdef"


class Model:
    """A model of one test: `NAME/1` is champion, `NAME/2` as good, `NAME/3` bad."""

    def __init__(self, name: str, folder: Path, settings: Settings) -> None:
        self.name, self.settings, self.lines = name, settings, list[str]()
        self.rows = write_rows(folder / "rows.csv")
        for steps in (GOOD_STEPS, GOOD_STEPS, BAD_STEPS):
            register(name, self.rows, settings, steps)
        promote(name, 1, settings)
        self.input = folder / "in.csv"
        pd.read_csv(self.rows).drop(columns="label").to_csv(self.input, index=False)
        self.output = folder / "out.csv"
        self.client = open_store(settings)

    def watcher(self) -> Watcher:
        watcher = Watcher(self.settings, self.lines.append)
        watcher.look()
        return watcher

    def click(self, half: str, version: int) -> None:
        self.client.set_registered_model_alias(f"{self.name}-{half}", "champion", str(version))

    def champions(self) -> tuple[int, int]:
        halves = (f"{self.name}-{half}" for half in ("encoder", "decoder"))
        found = (self.client.get_model_version_by_alias(half, "champion") for half in halves)
        encoder, decoder = (int(version.version) for version in found)
        return encoder, decoder

    def told(self) -> list[tuple[str, int | None, int | None]]:
        return [
            (event.source, event.from_version, event.to_version)
            for event in history(self.name, self.settings)
        ]

    def detects_with(self) -> str:
        return detect(self.name, str(self.input), self.output, self.settings).model


@pytest.fixture
def model(stack, tmp_path, monkeypatch, request) -> Model:
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    words = request.node.name.removeprefix("test_").replace("[", "-").removesuffix("]")
    name = f"clicked-{words[-40:]}"
    return Model(name, tmp_path, stack.settings(tmp_path))


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_whichever_half_is_clicked_the_other_and_the_next_job_follow(model, half):
    watcher = model.watcher()
    model.click(half, 2)
    watcher.look()
    assert model.champions() == (2, 2), model.lines
    assert model.told()[-1] == ("page", 1, 2)
    assert model.detects_with() == f"{model.name}/2"
    assert annotation(f"{model.name}/2", "isthmus.verdict", model.settings) == "passed"
    events = len(model.told())
    watcher.look()
    Watcher(model.settings, model.lines.append).look()  # another one, or after a restart
    assert len(model.told()) == events


def test_a_click_is_heard_by_webhook(model):
    watcher = model.watcher()
    with (
        listen("127.0.0.1", 0, SECRET, watcher.bell.ring) as port,
        register_until_the_end(f"http://127.0.0.1:{port}{PATH}", SECRET, model.settings) as trouble,
    ):
        assert trouble == ""
        until_s = time.monotonic() + 240  # MLflow keeps its list of webhooks for a minute
        rung: set[str] = set()
        while model.name not in rung:
            assert time.monotonic() < until_s
            model.click("encoder", 2)
            rung |= watcher.bell.wait(5)
        watcher.look(rung)
    assert model.champions() == (2, 2)
    assert model.told()[-1] == ("page", 1, 2)
    assert not [hook for hook in model.client.list_webhooks() if str(port) in hook.url]


def test_what_the_gate_refuses_is_put_back_and_says_why(model):
    watcher = model.watcher()
    model.click("encoder", 3)
    watcher.look()
    assert model.champions() == (1, 1)
    assert model.told()[-2:] == [("page", 1, 3), ("gate", 3, 1)]
    assert "reconstruction error" in history(model.name, model.settings)[-1].why
    refused = model.client.get_model_version(f"{model.name}-encoder", "3")
    assert refused.tags["isthmus.verdict"] == "refused"
    assert "**Refused** against" in refused.description
    assert model.detects_with() == f"{model.name}/1"
    before = model.told()
    watcher.look()
    assert model.told() == before


def test_a_job_that_only_wants_a_warning_gets_one(model):
    register(model.name, model.rows, model.settings, BAD_STEPS, promotion={"policy": "warn"})
    watcher = model.watcher()
    model.click("decoder", 4)
    watcher.look()
    assert model.champions() == (4, 4)
    assert annotation(f"{model.name}/4", "isthmus.verdict", model.settings) == "refused"


def test_what_was_clicked_before_the_first_watcher_began_stays(model):
    model.click("encoder", 3)
    watcher = model.watcher()
    assert model.champions() == (3, 3)
    watcher.look()
    assert model.champions() == (3, 3)


def test_two_watchers_put_a_click_back_once(model):
    first = model.watcher()
    other = Watcher(
        model.settings.model_copy(update={"home": model.settings.home / "other"}),
        model.lines.append,
    )
    other.look()
    model.click("encoder", 3)
    for watcher in (first, other, first):
        watcher.look()
    assert [told for told in model.told() if told[0] == "gate"] == [("gate", 3, 1)]


def test_a_version_copied_by_the_pages_button_is_whole(model):
    copied = f"prod-{model.name}"
    model.client.copy_model_version(f"models:/{model.name}-encoder/2", f"{copied}-encoder")
    original = load(f"{model.name}/2", model.settings).manifest.pair_id
    assert load(f"{copied}/1", model.settings).manifest.pair_id == original


@pytest.mark.timeout(600)
def test_the_command_follows_a_click_scores_again_and_ends_at_ctrl_c(model, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "subscriptions:\n"
        f"  - {{model: {model.name}, job: detect, input: in.csv, output: out.csv}}\n"
    )
    command = [sys.executable, "-m", "isthmus", "watch", "--poll", "0.5"]
    with (tmp_path / "told.txt").open("w") as told:
        process = subprocess.Popen(
            [*command, "--subscriptions", "s.yaml"], cwd=tmp_path, stdout=told, stderr=told
        )
    try:
        wait_for(lambda: f"by {model.name}/1" in (tmp_path / "told.txt").read_text(), process)
        model.click("decoder", 2)
        wait_for(lambda: f"by {model.name}/2" in (tmp_path / "told.txt").read_text(), process)
        assert f"{model.name}/2" in sidecar_path(model.output).read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert process.returncode == 0
    assert (tmp_path / "told.txt").read_text().endswith("Stopped.\n")


def wait_for(is_so, process, timeout_s: float = 240):
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert process.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_server_that_is_away_is_told_once_and_waited_for(stoppable_mlflow_server, tmp_path):
    server = stoppable_mlflow_server
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    with (tmp_path / "told.txt").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "isthmus", "watch", "--poll", "0.2"],
            cwd=tmp_path,
            stdout=told,
            stderr=told,
            env=environment,
        )

    def text() -> str:
        return (tmp_path / "told.txt").read_text()

    try:
        wait_for(lambda: (tmp_path / ".isthmus/watch/began.json").exists(), process)
        server.stop()
        wait_for(lambda: "does not answer" in text(), process)
        server.start()
        server.wait()
        wait_for(lambda: "answers again" in text(), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 0
    assert text().count("does not answer") == 1
