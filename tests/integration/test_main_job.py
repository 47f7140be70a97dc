"""From a job file to a promoted pair, and the jobs that use it: on real digits, real parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import isthmus as package
from isthmus.errors import RegistryError
from isthmus.registry import load
from isthmus.tracking import open_store

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

NO_ISTHMUS = """
import sys, numpy, mlflow
model = mlflow.pyfunc.load_model("models:/digits-encoder@champion")
latents = model.predict(numpy.load("rows.npy"))
decoder = mlflow.pyfunc.load_model("models:/digits-decoder@champion")
numpy.savez("predicted.npz", latents=latents, rows=decoder.predict(latents))
"""


def psnr(image, clean) -> float:
    return float(10 * np.log10(16.0**2 / np.mean((image - clean) ** 2)))


def test_the_pair_is_listed_with_its_alias_and_metrics(in_project, isthmus):
    listed = isthmus("models", "digits")
    assert listed.code == 0
    assert "digits/1" in listed.out
    assert "champion" in listed.out
    (version,) = package.versions("digits")
    assert version.aliases == ("champion",)
    assert version.metrics["test/reconstruction_mse"] < 2 * version.metrics["test/pca_mse"]


def test_what_was_found_is_printed_for_programs_too(in_project, isthmus, tmp_path):
    np.savez(tmp_path / "rows.npz", x=in_project.noisy[:20])
    for command, figures in (("denoise", {"rows"}), ("detect", {"rows", "anomalies"})):
        output = tmp_path / f"{command}.npz"
        done = isthmus(command, "--model", "digits", tmp_path / "rows.npz", output, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert figures <= set(found)
        assert (found["rows"], found["output"], found["model"]) == (20, str(output), "digits/1")


def test_denoising_a_file_gains_four_decibels_and_names_the_pair(in_project, isthmus):
    np.savez("noisy.npz", x=in_project.noisy, label=np.arange(len(in_project.noisy)))
    done = isthmus("denoise", "--model", "digits@champion", "noisy.npz", "clean.npz")
    assert done.code == 0, done.err
    with np.load("clean.npz") as result:
        denoised, pair = result["x"], json.loads(str(result["pair"]))
        assert result["label"].tolist() == list(range(len(denoised)))
    assert denoised.shape == in_project.noisy.shape
    gain = psnr(denoised, in_project.clean) - psnr(in_project.noisy, in_project.clean)
    assert gain >= 4.0
    assert (pair["model"], pair["pair_id"]) == ("digits/1", in_project.result.pair.pair_id)


def test_detecting_finds_the_kind_of_digit_that_training_never_saw(in_project, isthmus):
    digits = load_digits()
    nines = digits.images[digits.target == 9].astype(np.float32)
    np.save("mixed.npy", np.concatenate([in_project.clean, nines]))
    done = isthmus("detect", "--model", "digits", "mixed.npy", "scores.csv")
    assert done.code == 0, done.err
    beside = json.loads(Path("scores.csv.pair.json").read_text())
    assert beside["pair_id"] == in_project.result.pair.pair_id
    scores = pd.read_csv("scores.csv")
    is_nine = np.arange(len(scores)) >= len(in_project.clean)
    assert roc_auc_score(is_nine, scores["score"]) > 0.8
    assert scores["anomaly"][~is_nine].mean() < 0.1
    assert scores["p_value"].between(0, 1).all()


def test_a_folder_of_images_comes_back_as_a_folder_of_images(in_project, isthmus):
    folder = Path("pictures")
    folder.mkdir()
    for number in range(4):
        pixels = np.clip(in_project.noisy[number] / 16 * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"digit {number}.png")
    done = isthmus("denoise", "--model", "digits/1", folder, "denoised")
    assert done.code == 0, done.err
    gains = []
    for number in range(4):
        image = np.asarray(Image.open(Path("denoised") / f"digit {number}.png")) / 255 * 16
        clean = in_project.clean[number]
        gains.append(psnr(image, clean) - psnr(in_project.noisy[number].clip(0, 16), clean))
    assert np.mean(gains) > 2  # an image holds less noise than an array: it is cut at black, white


def test_an_output_that_exists_is_kept_unless_forced(in_project, isthmus):
    np.save("few.npy", in_project.clean[:3])
    Path("kept.csv").write_text("mine")
    refused = isthmus("detect", "--model", "digits", "few.npy", "kept.csv")
    assert (refused.code, Path("kept.csv").read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert isthmus("detect", "--model", "digits", "--force", "few.npy", "kept.csv").code == 0
    assert Path("kept.csv").read_text() != "mine"


def test_mlflow_alone_loads_both_halves_in_a_plain_process(in_project):
    np.save("rows.npy", in_project.clean[:5, None])
    subprocess.run([sys.executable, "-c", NO_ISTHMUS], check=True, timeout=120)
    pair = package.load("digits@champion")
    with np.load("predicted.npz") as predicted:
        latents = pair.encode(in_project.clean[:5])
        np.testing.assert_allclose(predicted["latents"], latents.values, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(predicted["rows"], pair.decode(latents), rtol=1e-4, atol=1e-4)


def test_the_run_shows_curves_figures_data_and_the_baseline(in_project):
    client = open_store(in_project.settings)
    run = client.get_run(in_project.result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.epochs"] == "60"
    assert len(run.data.params["data.fingerprint"]) == 64
    epochs = int(in_project.result.metrics["epochs"])
    for curve in ("train/loss", "validation/loss", "learning_rate", "rows_per_s"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, curve)]
        assert steps == list(range(1, epochs + 1)), curve
    assert "test/pca_mse" in run.data.metrics
    figures = {entry.path for entry in client.list_artifacts(run.info.run_id, "figures")}
    assert len(figures) == 4


def test_a_version_that_mlflows_page_copied_resolves_to_the_same_whole_pair(in_project):
    from isthmus.tracking.store import as_default_store

    client = open_store(in_project.settings)
    with as_default_store(in_project.settings.tracking_uri):
        client.copy_model_version("models:/digits-encoder/1", "prod-digits-encoder")
    copied = load("prod-digits/1", in_project.settings)
    assert copied.manifest.pair_id == in_project.result.pair.pair_id
    same = load("digits/1", in_project.settings).reconstruct(in_project.clean)
    np.testing.assert_array_equal(copied.reconstruct(in_project.clean), same)
    client.delete_registered_model("prod-digits-encoder")


def test_one_changed_byte_is_refused_by_the_name_of_the_file(in_project, tmp_path):
    shutil.copytree(in_project.folder, tmp_path / "copy")
    settings = in_project.settings.model_copy(update={"home": tmp_path / "other-home"})
    resolved = load("digits", settings)
    weights = next((settings.cache / "pairs").rglob("decoder.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RegistryError, match=r"decoder\.safetensors is damaged"):
        load("digits", settings)
    assert resolved.manifest.pair_id == in_project.result.pair.pair_id


WRONG_USES = {
    "no such model": (["--model", "digit", "rows.npy", "o.csv"], 2, 'did you mean "digits"?'),
    "no such version": (["--model", "digits/99", "rows.npy", "o.csv"], 2, "has no version 99"),
    "no such alias": (["--model", "digits@prod", "rows.npy", "o.csv"], 2, "has no prod"),
    "no model's name": (["--model", "../x", "rows.npy", "o.csv"], 2, "names no model"),
    "no such file": (["--model", "digits", "nothing.npy", "o.csv"], 3, "nothing.npy"),
    "an empty file": (["--model", "digits", "empty.npy", "o.csv"], 3, "empty.npy"),
    "a file of another kind": (["--model", "digits", "text.npy", "o.csv"], 3, "text.npy"),
    "rows of another shape": (
        ["--model", "digits", "large.npy", "o.csv"],
        3,
        "the model takes images of shape",
    ),
    "rows with nan": (["--model", "digits", "nan.npy", "o.csv"], 3, "nan.npy"),
    "an output of no known form": (["--model", "digits", "rows.npy", "o.xyz"], 3, ".csv"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG_USES.values(), ids=WRONG_USES.keys())
def test_a_wrong_use_is_one_line_and_leaves_nothing(
    in_project, isthmus, arguments, code, said, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", in_project.settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(in_project.settings.home))
    monkeypatch.chdir(tmp_path)
    rows = in_project.clean[:4]
    np.save("rows.npy", rows)
    Path("empty.npy").touch()
    Path("text.npy").write_text("not an array")
    np.save("large.npy", np.zeros((4, 9, 9)))
    np.save("nan.npy", np.full_like(rows, np.nan))
    before = sorted(tmp_path.rglob("*"))
    done = isthmus("detect", *arguments)
    assert done.code == code, done
    assert len(done.err.strip().splitlines()) == 1
    assert said in done.err
    assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before
