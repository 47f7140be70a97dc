"""Images in memory are taken as the same array in a file: scaled by white, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.data import collect, open_input
from isthmus.data.pixel_units import factor_to
from isthmus.errors import DataError
from isthmus.registry import Pair, load
from isthmus.sklearn import AutoencoderDetector
from isthmus.spec import RowSchema, Settings
from tests.challengers import register

WHITES = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}
MADE = np.random.default_rng(0).uniform(0, 255, (300, 4, 4))
BYTES = np.rint(MADE).astype(np.uint8)
ARRAYS = {
    "uint8": BYTES,
    "uint16": 257 * BYTES.astype(np.uint16),
    "bool": BYTES > 128,
    "float32": BYTES.astype(np.float32),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({}, tmp_path_factory.mktemp("white"))


@pytest.fixture(scope="module")
def pairs(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """A pair that was trained on each of the arrays."""
    plain = {"labels": None, "keep_labels": None, "exclude": []}
    found = {}
    for name, values in ARRAYS.items():
        file = tmp_path_factory.mktemp("trained") / f"{name}.npy"
        np.save(file, values)
        found[name] = load(str(register(f"on-{name}", file, settings, 1, data=plain)), settings)
    return found


@pytest.mark.parametrize("given", [*ARRAYS, "unit"])
@pytest.mark.parametrize("trained", [*ARRAYS])
def test_an_array_in_memory_is_the_array_in_its_file(pairs, tmp_path, trained, given):
    pair = pairs[trained]
    values = ARRAYS.get(given, (BYTES / 255).astype(np.float32))
    np.save(tmp_path / "given.npy", values)
    data, schema = pair.manifest.data, pair.manifest.rows_taken

    def rows_of_file() -> np.ndarray:
        return collect(open_input(data, str(tmp_path / "given.npy"), schema)).values

    if given == "unit" and trained in ("uint8", "uint16"):
        with pytest.raises(DataError, match="numbers from 0 to 1, and white is"):
            rows_of_file()
        for use in (pair.detect, pair.encode, pair.denoise):
            with pytest.raises(DataError, match=rf"rows for on-{trained}/1: holds numbers from"):
                use(values)
        return
    of_file, flat = rows_of_file(), values.reshape(len(values), -1)
    found = pair.encode(of_file, as_read=True).values
    np.testing.assert_array_equal(pair.encode(values).values, found)
    np.testing.assert_array_equal(pair.encode(flat).values, found)
    scores = pair.detect(of_file, as_read=True).scores
    np.testing.assert_array_equal(pair.detect(values).scores, scores)


@pytest.mark.parametrize(("given", "white"), [("uint16", 65535), ("bool", 1), ("uint8", 255)])
def test_denoised_images_have_the_white_that_they_came_with(pairs, caplog, given, white):
    pair = pairs["uint8"]
    expected = pair.denoise(BYTES if given != "bool" else 255 * ARRAYS["bool"].astype(np.uint8))
    caplog.clear()
    made = pair.denoise(ARRAYS[given])
    np.testing.assert_allclose(made, expected * (white / 255), rtol=1e-4)
    said = f"rows for on-uint8/1: white is {white} in {given}, and 255 to the pair"
    assert (said in caplog.text) == (given != "uint8")


def test_estimators_of_scikit_learn_keep_the_bit_depth(pairs, settings, monkeypatch):
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    flat = {name: values.reshape(len(values), -1) for name, values in ARRAYS.items()}
    detector = AutoencoderDetector("on-uint8/1").fit(flat["uint8"])
    scores = detector.score_samples(flat["uint8"])
    np.testing.assert_allclose(detector.score_samples(flat["uint16"]), scores, rtol=1e-4)


@pytest.mark.parametrize("given", ["bool", "uint8", "uint16"])
@pytest.mark.parametrize("trained", ["bool", "uint8", "uint16"])
def test_masks_of_0_and_1_are_the_same_in_every_type_of_number(trained, given):
    schema = RowSchema(
        kind="images",
        shape=(1, 4, 4),
        white=WHITES[trained],
        lowest=(0.0,) * 16,
        highest=(1.0,) * 16,
    )
    masks = (BYTES > 128).astype(given)
    assert factor_to(schema, masks, "masks") == 1.0


def test_bytes_of_black_and_white_are_scaled_for_a_pair_of_masks():
    schema = RowSchema(
        kind="images", shape=(1, 4, 4), white=1.0, lowest=(0.0,) * 16, highest=(1.0,) * 16
    )
    bytes_of_masks = 255 * (BYTES > 128).astype(np.uint8)
    assert factor_to(schema, bytes_of_masks, "masks") == pytest.approx(1 / 255)
