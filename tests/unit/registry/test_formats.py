"""What was registered once is loaded forever, and what cannot be is refused in one line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from isthmus import registry
from isthmus.bundle.formats import FORMAT
from isthmus.bundle.manifest import read_manifest
from isthmus.errors import RegistryError
from isthmus.registry.artifacts import build_detector
from tests.fixtures.pairs.stored import STORED, adopt, manifest_of, name_of

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
stored_pairs = pytest.mark.parametrize("stored", STORED, ids=name_of)


def test_there_is_a_stored_pair_of_every_format():
    assert {path.parent.name for path in STORED} == {
        f"format-{number}" for number in range(1, FORMAT + 1)
    }


@stored_pairs
def test_a_pair_of_a_past_format_gives_what_it_gave_then(stored, settings):
    name = name_of(stored)
    adopt(stored, settings, name)
    pair, expected = registry.load(name, settings), np.load(stored / "expected.npz")
    latents, found = pair.encode(expected["rows"]), pair.detect(expected["rows"])
    np.testing.assert_allclose(latents.values, expected["latents"], **CLOSE)
    np.testing.assert_allclose(pair.decode(latents), expected["reconstructions"], **CLOSE)
    np.testing.assert_allclose(found.scores, expected["scores"], **CLOSE)
    np.testing.assert_allclose(found.p_values, expected["p_values"], atol=0.002)
    np.testing.assert_array_equal(found.anomalies, expected["anomalies"])
    assert pair.manifest.format_version == FORMAT


@stored_pairs
def test_a_half_of_a_past_format_is_loaded_by_mlflow_itself(stored):
    from mlflow import pyfunc

    expected = np.load(stored / "expected.npz")
    encoder, decoder = (pyfunc.load_model(str(stored / half)) for half in ("encoder", "decoder"))
    np.testing.assert_allclose(encoder.predict(expected["rows"]), expected["latents"], **CLOSE)
    np.testing.assert_allclose(
        decoder.predict(expected["latents"]), expected["reconstructions"], **CLOSE
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stored pair's content, to be changed."""
    copied = tmp_path / "pair"
    shutil.copytree(STORED[0] / "encoder" / "data" / "pair", copied)
    return copied


def change(folder: Path, **fields: object) -> None:
    raw = {**manifest_of(STORED[0], "encoder"), **fields}
    (folder / "pair.json").write_text(json.dumps(raw), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(RegistryError) as caught:
        build_detector(read_manifest(folder), {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_later_format_is_refused_with_the_version_that_reads_it(folder):
    change(folder, format_version=FORMAT + 1, isthmus_version="9.1.0", unheard_of={})
    assert f"is of format {FORMAT + 1}" in refusal(folder)
    assert "upgrade isthmus to 9.1.0" in refusal(folder)


@pytest.mark.parametrize("version", [0, -1, "1", True, None, 1.0, [1]])
def test_what_is_no_format_version_is_refused(folder, version):
    change(folder, format_version=version)
    assert "it has no format_version" in refusal(folder)


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "null", '{"format_version": 1}', "\\xff"])
def test_a_damaged_file_is_refused(folder, text):
    (folder / "pair.json").write_bytes(text.encode("latin-1"))
    assert "damaged" in refusal(folder)


def test_a_variant_or_an_option_that_is_not_known_here_is_refused(folder):
    plan = manifest_of(STORED[0], "encoder")["plan"]
    change(folder, plan={**plan, "variant": {"name": "later"}})
    assert 'variant "later"' in refusal(folder)
    change(folder, plan={**plan, "net": {"name": "dense", "later": 1}})
    assert "an option that this Isthmus does not take (later" in refusal(folder)


@pytest.mark.parametrize("model_id", ["../../other", "m-../x", "/etc", "m-1/../../x", "m-1\n"])
def test_no_name_in_it_leads_out_of_a_folder(folder, model_id):
    change(folder, models={"encoder": model_id, "decoder": model_id})
    assert "damaged" in refusal(folder)


def test_a_vae_of_format_4_scores_by_the_squared_error_that_it_was_calibrated_on(tmp_path):
    vae = next(stored for stored in STORED if stored.name == "vae-dense")
    halves = {half: vae / half / "data" / "pair" for half in ("encoder", "decoder")}
    weights = [load_file(folder / f"{half}.safetensors") for half, folder in halves.items()]
    rows = torch.from_numpy(np.load(vae / "expected.npz")["rows"])

    def scores(version: int) -> tuple[torch.Tensor, torch.Tensor]:
        raw = {**manifest_of(vae, "decoder"), "format_version": version}
        (tmp_path / "pair.json").write_text(json.dumps(raw), encoding="utf-8")
        detector, _ = build_detector(read_manifest(tmp_path), {**weights[0], **weights[1]})
        with torch.inference_mode():
            return detector.score(rows), detector.module.reconstruction_error(rows)

    torch.testing.assert_close(*scores(4))
    assert not torch.allclose(*scores(5))


def test_a_figure_that_is_no_number_can_be_stored_and_read(folder, tmp_path):
    change(folder, metrics={"test_ssim": None})  # as format 1 wrote it
    manifest = read_manifest(folder)
    assert math.isnan(manifest.metrics["test/ssim"])
    from isthmus.bundle.manifest import write_manifest

    write_manifest(manifest, tmp_path)
    assert math.isnan(read_manifest(tmp_path).metrics["test/ssim"])


def test_a_metric_of_a_past_format_has_the_name_that_it_has_today(folder):
    change(folder, metrics={"test_psnr_db": 30.0, "validation_files": 2, "seconds": 1.0})
    names = set(read_manifest(folder).metrics)
    assert names == {"test/psnr_db", "validation_files", "seconds"}
