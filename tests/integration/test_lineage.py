"""From data to runs, pairs and outputs, and back: two trainings on digits and what they made."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus as package
from isthmus.registry import Lineage
from isthmus.spec import Settings
from isthmus.tracking import open_store
from isthmus.tracking.outputs import EXPERIMENT
from tests.conftest import Command
from tests.using import denoise

pytestmark = pytest.mark.slow
JOB = {
    "name": "traced",
    "data": {"path": "sklearn:digits"},
    "net": {"name": "dense"},
    "training": {"workers": 1, "epochs": 2},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair that was trained twice on the same data, and made two outputs."""
    folder = tmp_path_factory.mktemp("traced")
    settings = Settings.from_environment({}, folder)
    for _ in range(2):
        package.train(JOB, settings=settings)
    np.save(folder / "rows.npy", load_digits().images.astype(np.float32)[:20])
    for output in ("clean.npz", "clean.npy"):
        denoise("traced/1", str(folder / "rows.npy"), folder / output, settings)
    return folder


@pytest.fixture
def in_folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def outputs_in(found: Lineage) -> dict[str, tuple[str, str | None]]:
    return {
        Path(output.record.path).name: (output.state, output.found)
        for run in found.runs
        for pair in run.pairs
        for output in pair.outputs
    }


def test_from_every_point_the_same_whole_is_seen(in_folder):
    whole = package.lineage("traced/1")
    assert len(whole.runs) == 2
    assert whole.data == "sklearn:digits"
    assert [pair.names for run in whole.runs for pair in run.pairs] == [
        ("traced/2",),
        ("traced/1",),
    ]
    assert outputs_in(whole) == {
        "clean.npz": ("as written", None),
        "clean.npy": ("as written", None),
    }
    run = whole.runs[1].run
    for what in ("clean.npz", run.run_id[:8], run.name, whole.fingerprint, "traced/2"):
        found = package.lineage(what)
        assert found.runs == whole.runs or what.endswith("npz")
        assert outputs_in(found) == outputs_in(whole)


def test_an_output_is_an_mlflow_run_with_the_pairs_models_as_inputs(in_folder):
    client = open_store(Settings.from_environment())
    experiment = client.get_experiment_by_name(EXPERIMENT)
    run = client.get_run(client.search_runs([experiment.experiment_id])[0].info.run_id)
    assert run.info.status == "FINISHED"
    manifest = package.load("traced/1").manifest
    assert {each.model_id for each in run.inputs.model_inputs} == set(manifest.models.values())
    assert run.data.tags["isthmus.pair_id"] == manifest.pair_id


def test_a_file_that_was_moved_is_found_by_its_content_without_its_sidecar(in_folder, tmp_path):
    shutil.copy("clean.npy", tmp_path / "other.npy")
    assert outputs_in(package.lineage(str(tmp_path / "other.npy")))["clean.npy"] == (
        "as written",
        str(tmp_path / "other.npy"),
    )


def test_a_file_that_was_changed_is_said_so(in_folder, isthmus: Command, tmp_path):
    content = bytearray(Path("clean.npy").read_bytes())
    content[-1] ^= 1
    shutil.copy("clean.npy.pair.json", tmp_path / "changed.npy.pair.json")
    (tmp_path / "changed.npy").write_bytes(content)
    done = isthmus("lineage", tmp_path / "changed.npy")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if "<- asked for" in line]
    assert "changed since, now " in line
    (tmp_path / "changed.npy.pair.json").unlink()
    lost = isthmus("lineage", tmp_path / "changed.npy")
    assert lost.code == 2
    assert "names no pair" in lost.err


def test_the_tree_and_the_json_name_everything(in_folder, isthmus: Command):
    done = isthmus("lineage", "traced/1")
    assert done.code == 0, done.err
    for said in ("data sklearn:digits", "run traced-", "traced/1 (pair ", "clean.npz", "20 rows"):
        assert said in done.out
    content = json.loads(isthmus("lineage", "--json", "traced/1").out)
    assert len(content["runs"]) == 2
    assert content["runs"][1]["pairs"][0]["outputs"][0]["record"]["rows"] == 20


@pytest.mark.parametrize("what", ["nothing.npz", "nobody/3", "nobody", "f" * 64, "nobody@champion"])
def test_what_is_not_there_is_one_line(in_folder, isthmus: Command, what):
    done = isthmus("lineage", what)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1


def test_without_the_store_the_result_stands_and_one_line_says_so(
    in_folder, caplog, monkeypatch, tmp_path
):
    from isthmus.tracking import outputs

    def hang(settings: Settings) -> None:
        time.sleep(60)

    settings = Settings.from_environment()
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "open_store", hang)
        patch.setattr(outputs, "_LONGEST_WAIT_S", 0.2)
        result = denoise("traced/2", "rows.npy", tmp_path / "kept.npy", settings)
    assert np.load(result.output).shape == (20, 8, 8)
    said = [each.getMessage() for each in caplog.records if "lineage" in each.getMessage()]
    assert said == [f"lineage of {result.output} was not recorded: MLflow does not answer"]
    (tmp_path / "kept.npy.pair.json").rename(tmp_path / "moved.npy.pair.json")
    result.output.rename(tmp_path / "moved.npy")
    assert outputs_in(package.lineage(str(tmp_path / "moved.npy")))["moved.npy"] == (
        "not recorded",
        None,
    )


def test_an_output_that_was_copied_to_s3_is_known_there(in_folder, s3, tmp_path):
    client = s3.client()
    client.create_bucket(Bucket="traced")
    client.upload_file("clean.npz", "traced", "results/clean.npz")
    found = outputs_in(package.lineage("s3://traced/results/clean.npz"))
    assert found["clean.npz"] == ("as written", "s3://traced/results/clean.npz")
