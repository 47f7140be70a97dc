"""Pairs of somebody's own variant or net: their code is stored, and run only with consent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError

import isthmus
from isthmus.bundle.plugin_files import PluginRecord
from isthmus.errors import RegistryError, UsageError
from isthmus.jobs import stopped_runs
from isthmus.plugins import files
from isthmus.promotion import judge_reference
from isthmus.promotion.seen import job_of
from isthmus.registry import Pair
from isthmus.registry.carried import CarriedPair
from isthmus.registry.loading import build, resolve
from isthmus.serve.following import Follower
from isthmus.spec import Settings
from isthmus.tracking import find_run
from tests.own_plugins import example, write_example

REFUSAL = (
    r'swirled/1 needs the variant "swirl" of swirl\.py, which is stored with the pair; read it, '
    r"and load the pair with isthmus --trust COMMAND, load\(trust_plugins=True\) or "
    r"ISTHMUS_TRUST_PLUGINS=1, or put the file where the job named it"
)


@dataclass(frozen=True)
class Trained:
    """A folder in which a pair of the example was trained.

    Attributes:
        settings: The settings of its stores.
        folder: The folder, with swirl.py and job.yaml.
        rows: Shape (N, 8, 8).
        scores: The pair's scores of them, where it was trained.
    """

    settings: Settings
    folder: Path
    rows: np.ndarray
    scores: np.ndarray


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    from sklearn.datasets import load_digits

    folder, before = tmp_path_factory.mktemp("own"), Path.cwd()
    os.chdir(folder)
    try:
        settings = Settings.from_environment()
        assert isthmus.train(write_example(folder).name).pair is not None
        rows = load_digits().images[:50]
        scores = isthmus.load("swirled/1").detect(rows).scores
    finally:
        os.chdir(before)
    yield Trained(settings, folder, rows, scores)
    shutil.rmtree(folder)


@pytest.fixture
def elsewhere(trained: Trained, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same registry, from another folder and from a process that has imported no file."""
    monkeypatch.setattr(files, "_table", files._Table())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.settings.tracking_uri)
    return here


def test_stored_code_is_not_run_without_consent(trained, elsewhere):
    with pytest.raises(RegistryError, match=f"^{REFUSAL}$"):
        isthmus.load("swirled/1")
    assert files._table.files == {}


def test_the_variable_is_consent(trained, elsewhere, monkeypatch):
    monkeypatch.setenv("ISTHMUS_TRUST_PLUGINS", "1")
    pair = isthmus.load("swirled/1")
    np.testing.assert_allclose(pair.detect(trained.rows).scores, trained.scores, rtol=1e-5)
    assert type(pair.module).__name__ == "Swirl"
    assert pair.module.decoder.hidden.out_features == 128


def test_the_argument_is_consent_for_one_call(trained, elsewhere):
    pair = isthmus.load("swirled/1", trust_plugins=True)
    np.testing.assert_allclose(pair.detect(trained.rows).scores, trained.scores, rtol=1e-5)


def test_the_same_file_in_the_jobs_place_counts_as_installed(trained, elsewhere):
    (elsewhere / "swirl.py").write_text(example("python") + "# changed\n")
    with pytest.raises(RegistryError, match=REFUSAL):
        isthmus.load("swirled/1")
    (elsewhere / "swirl.py").write_text(example("python"))
    assert isthmus.load("swirled/1").manifest.plan.variant.name.startswith("swirl@")


def test_a_damaged_file_is_not_run_even_with_consent(trained, elsewhere):
    folder = resolve("swirled/1", Settings.from_environment()).folder
    (folder / "plugin-swirl.py").write_text("raise SystemExit(7)\n")
    with pytest.raises(RegistryError, match=r"swirl\.py, which is stored with swirled/1, is .*dam"):
        isthmus.load("swirled/1", trust_plugins=True)


@pytest.mark.parametrize(
    "place", [".isthmus/cache/pairs/{model}", "mlruns/swirled/{run}/artifacts", "pairs"]
)
def test_a_file_that_the_registry_put_there_is_not_the_users(trained, elsewhere, place):
    settings = Settings.from_environment()
    resolved = resolve("swirled/1", settings)
    folder = elsewhere / place.format(model=resolved.folder.name, run="0" * 32)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained.folder / "swirl.py", folder)
    if place == "pairs":
        shutil.copy(resolved.folder / "pair.json", elsewhere)
    manifest = resolved.manifest
    named = {**manifest.spec, "plugins": [str(folder / "swirl.py")]}
    forged = replace(resolved, manifest=manifest.model_copy(update={"spec": named}))
    with pytest.raises(RegistryError, match=REFUSAL):
        build(forged)
    assert files._table.files == {}


def test_a_file_beside_the_fetched_pair_is_not_the_users(trained, elsewhere, monkeypatch):
    resolved = resolve("swirled/1", Settings.from_environment())
    plain = elsewhere / "copy"  # no folder of a store by its name
    shutil.copytree(resolved.folder, plain / "m-1")
    (plain / "swirl.py").write_bytes((plain / "m-1/plugin-swirl.py").read_bytes())
    named = {**resolved.manifest.spec, "plugins": ["copy/swirl.py"]}
    manifest = resolved.manifest.model_copy(update={"spec": named})
    with pytest.raises(RegistryError, match=REFUSAL):
        build(replace(resolved, manifest=manifest, folder=plain / "m-1"))


def test_the_gate_and_a_resumed_run_import_no_file_that_only_the_registry_names(
    trained, elsewhere, monkeypatch
):
    (elsewhere / "other.py").write_text(f"{example('python')}\nopen('ran', 'w').close()\n")
    settings = Settings.from_environment()
    pair = isthmus.load("swirled/1", trust_plugins=True)
    named = {**pair.manifest.spec, "plugins": ["other.py"]}
    forged = Pair(pair.detector, pair.manifest.model_copy(update={"spec": named}), "swirled/1")
    assert job_of(forged).plugins == ()
    stored = replace(find_run(pair.manifest.run_id, settings), job=named)
    assert stopped_runs.job_of(stored, settings).variant == pair.manifest.plan.variant
    own = {**named, "plugins": [str(trained.folder / "swirl.py"), "other.py"]}
    stored = replace(stored, job=own)
    assert stopped_runs.job_of(stored, settings).plugins == (str(trained.folder / "swirl.py"),)
    place = elsewhere / "mlruns/swirl.py"
    place.parent.mkdir()
    shutil.copy(trained.folder / "swirl.py", place)
    stored = replace(stored, job={**named, "plugins": [str(place)]})
    with pytest.raises(UsageError, match="which others may have put there; read it, and use"):
        stopped_runs.job_of(stored, settings)
    assert not (elsewhere / "ran").exists()


def test_the_gate_needs_no_file_where_the_job_was_not(trained, elsewhere):
    assert job_of(isthmus.load("swirled/1", trust_plugins=True)).variant.name.startswith("swirl@")


def test_the_commands_ask_for_consent_too(trained, elsewhere, isthmus, monkeypatch):
    np.savez(elsewhere / "rows.npz", x=trained.rows)
    monkeypatch.setenv("ISTHMUS_TRUST_PLUGINS", "0")  # so that the test ends with what it began
    command = ("detect", "--model", "swirled/1", "rows.npz", "scores.csv")
    refused = isthmus(*command)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert "isthmus --trust COMMAND" in refused.err
    found = isthmus("--trust", *command)
    assert found.code == 0, found
    assert "in 50 rows" in found.out


def test_a_service_that_starts_while_the_registry_is_away_needs_consent_too(
    trained, elsewhere, monkeypatch
):
    settings = Settings.from_environment()
    trusting = settings.model_copy(update={"trust_plugins": True})
    Follower("swirled/1", trusting, "cpu")  # which notes what it has verified
    away = {"tracking_uri": "http://127.0.0.1:1"}
    monkeypatch.setattr(files, "_table", files._Table())
    with pytest.raises(RegistryError, match='needs the variant "swirl"'):
        Follower("swirled/1", settings.model_copy(update=away), "cpu")
    assert files._table.files == {}
    follower = Follower("swirled/1", trusting.model_copy(update=away), "cpu")
    assert follower.standing.model == "swirled/1"
    assert "does not answer" in follower.standing.trouble


def test_the_graphs_and_the_score_model_need_no_code_of_the_pairs(trained, elsewhere):
    graph = isthmus.onnx_files("swirled/1")["score"]
    rows = trained.rows.reshape(-1, 1, 8, 8).astype(np.float32)
    scores = onnxruntime.InferenceSession(str(graph)).run(None, {"row": rows})[0]
    np.testing.assert_allclose(scores, trained.scores, rtol=1e-3)


def test_mlflow_alone_loads_a_half_with_consent(trained, elsewhere, monkeypatch):
    settings = Settings.from_environment()
    (model_id,) = resolve("swirled/1", settings).manifest.models["encoder"].split()
    (stored,) = trained.folder.glob(f"mlruns/**/{model_id}/artifacts")
    with pytest.raises(RegistryError, match='needs the variant "swirl"'):
        mlflow.pyfunc.load_model(str(stored))
    monkeypatch.setenv("ISTHMUS_TRUST_PLUGINS", "1")
    rows = trained.rows.reshape(-1, 1, 8, 8).astype(np.float32)
    assert mlflow.pyfunc.load_model(str(stored)).predict(rows).shape == (50, 16)


def test_a_carried_pair_works_where_the_file_is_not(trained, elsewhere, monkeypatch):
    settings = Settings.from_environment({"ISTHMUS_TRUST_PLUGINS": "1"}, trained.folder)
    pair, resolved = isthmus.load("swirled/1", settings=settings), resolve("swirled/1", settings)
    carried = CarriedPair.of(resolved, pair)
    monkeypatch.setattr(files, "_table", files._Table())
    np.testing.assert_allclose(
        carried.load("cpu").detect(trained.rows).scores, trained.scores, rtol=1e-5
    )


def test_the_manifest_names_the_file_its_hash_and_every_plugin_of_it(trained, elsewhere):
    manifest = resolve("swirled/1", Settings.from_environment()).manifest
    named = [(each.room, each.name, each.file) for each in manifest.plugins]
    assert named == [("variants", "swirl", "swirl.py"), ("nets", "two_layers", "swirl.py")]
    assert {each.sha256 for each in manifest.plugins} == {
        files.PluginFile.read(trained.folder / "swirl.py").sha256
    }


def test_the_gate_compares_two_texts_of_one_file(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    text = (trained.folder / "swirl.py").read_text()
    isthmus.promote("swirled", 1, force=True, why="the first")
    try:
        (trained.folder / "swirl.py").write_text(text.replace(".relu()", ".tanh()"))
        assert isthmus.train("job.yaml").pair is not None
        verdict = judge_reference("swirled/2", Settings.from_environment())
    finally:
        (trained.folder / "swirl.py").write_text(text)
    assert verdict.champion == 1 or str(verdict.champion) == "swirled/1"


@pytest.mark.parametrize("field", [{"package": "swirl; rm -rf ."}, {"version": "1 && reboot"}])
def test_what_a_message_says_to_install_is_no_other_command(field):
    whole = {"room": "nets", "name": "n", "package": "swirl", "version": "1.2+cpu"}
    PluginRecord.model_validate(whole)
    with pytest.raises(ValidationError):
        PluginRecord.model_validate({**whole, **field})
