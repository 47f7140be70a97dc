"""What comes of a request, without HTTP: every form is read with the checks of a file."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from isthmus.data.outputs.provenance import PROVENANCE_KEY
from isthmus.errors import DataError, IsthmusError
from isthmus.registry import Pair
from isthmus.serve.batching import Piece, compute
from isthmus.serve.forms import NotJson, UnknownForm
from isthmus.serve.media_types import ENDINGS
from isthmus.serve.messages import VERBS, Answer, Asked, Verb
from isthmus.serve.reading import TooLarge, refuse_too_many
from isthmus.serve.verbs import ForeignLatents, Work
from tests.untrained import pair_of, plant_frame

JSON = "application/json"
RNG = np.random.default_rng(0)


async def compute_alone(piece: Piece) -> Any:
    (made,) = compute([piece])
    if isinstance(made, Exception):
        raise made
    return made


async def at_once(function: Any, *arguments: object) -> Any:
    return function(*arguments)


def ask(
    pair: Pair, verb: Verb, body: object, content_type: str = JSON, accept: str = "", **more: Any
) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Asked(verb, content, content_type, (accept,), **more)
    folder = Path("requests", str(RNG.integers(2**40)))
    folder.mkdir(parents=True)
    return asyncio.run(Work(asked, pair, folder, compute_alone, at_once).answer())


def bytes_of(save: Any, *arguments: object, **more: object) -> bytes:
    content = io.BytesIO()
    save(content, *arguments, **more)
    return content.getvalue()


def frame(rows: int = 300) -> pd.DataFrame:
    return plant_frame(RNG, rows)


@pytest.fixture
def numbers(here: Path) -> Pair:
    frame()[["flow", "heat"]].to_csv("train.csv", index=False)
    return pair_of("train.csv")


@pytest.fixture
def plant(here: Path) -> Pair:
    frame().to_csv("train.csv", index=False)
    return pair_of("train.csv", categories=["colour"])


@pytest.fixture
def photos(here: Path) -> Pair:
    Path("photos").mkdir()
    for number in range(20):
        Image.fromarray(RNG.integers(0, 255, (8, 8), dtype=np.uint8)).save(f"photos/{number}.png")
    return pair_of("photos")


@pytest.fixture
def sounds(here: Path) -> Pair:
    Path("sounds").mkdir()
    for number in range(4):
        soundfile.write(f"sounds/{number}.wav", RNG.normal(0, 0.1, 1000), 8000)
    return pair_of("sounds", window=64)


def test_rows_as_lists_are_scored_as_the_pair_scores_them(numbers):
    rows = frame(5)[["flow", "heat"]].to_numpy()
    answer = ask(numbers, "detect", {"rows": rows.tolist()})
    found, expected = json.loads(answer.body), numbers.detect(rows)
    assert (answer.status, answer.content_type, answer.rows) == (200, JSON, 5)
    assert answer.pair == "plant/1 0123456789abcdef"
    assert found["pair_id"] == "0123456789abcdef"
    assert found["threshold"] == pytest.approx(numbers.threshold)
    for place, row in enumerate(found["rows"]):
        assert row["row"] == place
        assert row["score"] == pytest.approx(expected.scores[place], rel=1e-5)
        assert row["p_value"] == pytest.approx(expected.p_values[place], rel=1e-5)
        assert row["anomaly"] == expected.anomalies[place]


def test_records_are_read_by_the_names_of_their_columns(plant):
    rows = frame(4)
    records = rows[["colour", "heat", "flow"]].to_dict("records")
    as_records = json.loads(ask(plant, "detect", {"records": records}).body)
    as_csv = ask(plant, "detect", rows.to_csv(index=False).encode(), "text/csv", accept=JSON)
    assert as_records["rows"] == json.loads(as_csv.body)["rows"]
    assert ask(plant, "detect", records).body == ask(plant, "detect", {"records": records}).body


def test_a_category_that_training_did_not_have_is_an_anomaly_with_its_reason(plant):
    records = [{**record, "colour": "blue"} for record in frame(2).to_dict("records")]
    (first, _) = json.loads(ask(plant, "detect", records).body)["rows"]
    assert first["anomaly"] is True
    assert "blue" in first["reason"]
    (first, _) = json.loads(ask(plant, "detect", records, allow_unseen=True).body)["rows"]
    assert first["anomaly"] == (first["score"] > plant.threshold)


def test_a_false_alarm_rate_may_be_asked_for(numbers):
    rows = frame(200)[["flow", "heat"]].to_numpy()
    answer = json.loads(ask(numbers, "detect", rows.tolist(), false_alarm_rate=0.2).body)
    expected = numbers.detect(rows, false_alarm_rate=0.2)
    assert [row["anomaly"] for row in answer["rows"]] == expected.anomalies.tolist()
    assert answer["threshold"] == pytest.approx(expected.threshold)
    with pytest.raises(IsthmusError, match="needs at least"):
        ask(numbers, "detect", rows.tolist(), false_alarm_rate=1e-6)


def test_records_are_denoised_with_the_columns_that_are_no_features(numbers):
    records = [{"id": "a", "heat": 19.5, "flow": 103.25}, {"id": "b", "heat": 20.5, "flow": 99}]
    found = json.loads(ask(numbers, "denoise", {"records": records}).body)["records"]
    expected = numbers.denoise([[103.25, 19.5], [99, 20.5]])
    assert [row["id"] for row in found] == ["a", "b"]
    assert [row["flow"] for row in found] == pytest.approx(expected[:, 0], rel=1e-5)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy", "npz", "json"])
def test_rows_are_denoised_in_the_form_of_the_request(numbers, ending):
    rows = frame(3)[["flow", "heat"]]
    array = rows.to_numpy(np.float32)
    bodies = {
        "csv": ("text/csv", rows.to_csv(index=False).encode()),
        "parquet": ("application/vnd.apache.parquet", bytes_of(lambda f: rows.to_parquet(f))),
        "npy": ("application/x-npy", bytes_of(np.save, array)),
        "npz": ("application/x-npz", bytes_of(np.savez, x=array)),
        "json": (JSON, json.dumps(array.tolist()).encode()),
    }
    readers = {
        "csv": lambda content: pd.read_csv(io.BytesIO(content)).to_numpy(),
        "parquet": lambda content: pd.read_parquet(io.BytesIO(content)).to_numpy(),
        "npy": lambda content: np.load(io.BytesIO(content)),
        "npz": lambda content: np.load(io.BytesIO(content))["x"],
        "json": lambda content: np.array(json.loads(content)["rows"]),
    }
    content_type, body = bodies[ending]
    answer = ask(numbers, "denoise", body, content_type)
    assert answer.content_type == content_type
    np.testing.assert_allclose(readers[ending](answer.body), numbers.denoise(array), rtol=1e-4)


def test_the_answer_has_another_form_where_that_is_accepted(numbers):
    rows = frame(3)[["flow", "heat"]]
    answer = ask(numbers, "detect", rows.to_csv(index=False).encode(), "text/csv")
    table = pd.read_csv(io.BytesIO(answer.body))
    assert list(table) == ["row", "score", "p_value", "anomaly"]
    answer = ask(numbers, "detect", rows.to_numpy().tolist(), accept="application/x-npz")
    arrays = np.load(io.BytesIO(answer.body))
    assert {"row", "score", "p_value", "anomaly", PROVENANCE_KEY} == set(arrays.files)
    assert "0123456789abcdef" in str(arrays[PROVENANCE_KEY])


@pytest.mark.parametrize("form", [JSON, "application/x-npz"])
def test_what_embed_answers_is_decoded_as_it_is(numbers, form):
    rows = frame(4)[["flow", "heat"]].to_numpy()
    embedded = ask(numbers, "embed", rows.tolist(), accept=form)
    latents = numbers.encode(rows)
    decoded = ask(numbers, "decode", embedded.body, form)
    if form == JSON:
        found = np.array(json.loads(embedded.body)["latents"])
        rows_again = np.array(json.loads(decoded.body)["rows"])
        assert json.loads(decoded.body)["columns"] == ["flow", "heat"]
    else:
        found = np.load(io.BytesIO(embedded.body))["latents"]
        rows_again = np.load(io.BytesIO(decoded.body))["x"]
    np.testing.assert_allclose(found, latents.values, rtol=1e-5)
    np.testing.assert_allclose(rows_again, numbers.decode(latents), rtol=1e-5)


def test_latents_of_another_pair_are_refused(numbers):
    with pytest.raises(ForeignLatents, match="were made by pair ffff, and plant/1 is pair 0123"):
        ask(numbers, "decode", {"latents": [[0.0, 0.0]], "pair_id": "ffff"})


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({"latents": [[0.0, 0.0]]}, NotJson, 'with "latents" and "pair_id"'),
        ({"latents": [[0.0]], "pair_id": "0123456789abcdef"}, DataError, r"of shape \(N, 2\)"),
        ({"latents": [[0, None]], "pair_id": "0123456789abcdef"}, DataError, "1 missing or"),
        ({"latents": [["a", 0]], "pair_id": "0123456789abcdef"}, DataError, "no lists of numbers"),
    ],
    ids=["no id", "another width", "missing", "words"],
)
def test_latents_that_do_not_fit_are_refused(numbers, content, error, said):
    with pytest.raises(error, match=said):
        ask(numbers, "decode", content)


def test_an_image_is_denoised_to_an_image_of_its_depth(photos):
    pixels = RNG.integers(0, 255, (8, 8), dtype=np.uint8)
    body = bytes_of(Image.fromarray(pixels).save, "png")
    answer = ask(photos, "denoise", body, "image/png")
    image = Image.open(io.BytesIO(answer.body))
    assert (answer.content_type, image.mode, image.size) == ("image/png", "L", (8, 8))
    expected = np.clip(np.rint(photos.denoise(pixels[None].astype(np.float32))), 0, 255)
    np.testing.assert_allclose(np.asarray(image), expected[0], atol=1)
    scored = json.loads(ask(photos, "detect", body, "image/png").body)
    assert [row["file"] for row in scored["rows"]] == ["request.png"]
    jpeg = bytes_of(Image.fromarray(pixels).save, "jpeg")
    assert Image.open(io.BytesIO(ask(photos, "denoise", jpeg, "image/jpeg").body)).format == "JPEG"
    arrays = ask(photos, "denoise", body, "image/png", accept="application/x-npz")
    assert np.load(io.BytesIO(arrays.body))["x"].shape == (1, 1, 8, 8)


def test_images_of_any_size_are_denoised_by_a_pair_of_patches(here):
    Path("photos").mkdir()
    for number in range(12):
        pixels = RNG.integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    pair = pair_of("photos", net="dncnn", patch=16)
    pixels = RNG.integers(0, 255, (19, 31), dtype=np.uint8)
    body = bytes_of(Image.fromarray(pixels).save, "png")
    image = Image.open(io.BytesIO(ask(pair, "denoise", body, "image/png").body))
    expected = np.clip(np.rint(pair.denoise(pixels[None].astype(np.float32))), 0, 255)
    np.testing.assert_allclose(np.asarray(image), expected[0], atol=1)


def test_images_as_arrays_are_denoised_in_their_shape(photos):
    pixels = RNG.integers(0, 255, (3, 8, 8)).astype(np.float32)
    answer = ask(photos, "denoise", {"rows": pixels.tolist()})
    found = np.array(json.loads(answer.body)["rows"])
    np.testing.assert_allclose(found, photos.denoise(pixels), rtol=1e-3, atol=1e-3)


def test_a_sound_is_denoised_to_a_sound_of_its_length_and_rate(sounds):
    body = bytes_of(soundfile.write, RNG.normal(0, 0.1, 1000), 8000, format="WAV")
    answer = ask(sounds, "denoise", body, "audio/wav")
    samples, rate = soundfile.read(io.BytesIO(answer.body))
    assert (answer.content_type, len(samples), rate) == ("audio/wav", 1000, 8000)
    scored = json.loads(ask(sounds, "detect", body, "audio/x-wav").body)["rows"]
    assert len(scored) == answer.rows
    other = bytes_of(soundfile.write, RNG.normal(0, 0.1, 1000), 16000, format="WAV")
    with pytest.raises(DataError, match=r"request: .*16000"):
        ask(sounds, "denoise", other, "audio/wav")


def test_what_is_wrong_with_rows_is_one_line_that_names_them(plant, numbers):
    records = frame(2).to_dict("records")
    faults = {
        'request: no column "heat", which the model was trained on; Valid: colour, flow': [
            {"flow": 1.0, "colour": "red"}
        ],
        "request: .*missing values": [{**records[0], "flow": None}],
        'request: column "flow" is not numeric': [{**records[0], "flow": "far"}],
    }
    for said, body in faults.items():
        with pytest.raises(DataError, match=said) as caught:
            ask(plant, "detect", body)
        assert len(str(caught.value).splitlines()) == 1
        assert "/dev/shm" not in str(caught.value)
    with pytest.raises(DataError, match=r"request: .* 3 .* 2"):
        ask(numbers, "detect", [[1, 2, 3]])
    with pytest.raises(DataError, match="no lists of numbers of equal length"):
        ask(numbers, "detect", [[1, 2], [3]])
    with pytest.raises(DataError, match="holds infinity"):
        ask(numbers, "detect", bytes_of(np.save, np.array([[np.inf, 1]])), "application/x-npy")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b"{", JSON, NotJson),
        (b'{"rows": [[NaN, 1]]}', JSON, NotJson),
        (b'{"values": []}', JSON, NotJson),
        (b"[" * 100_000, JSON, NotJson),
        (b"\xff\xfe", JSON, NotJson),
        (b"a=1", "application/x-www-form-urlencoded", UnknownForm),
        (b"a=1", "", UnknownForm),
        (b"PK\x03\x04 and nothing more", "application/x-npz", DataError),
        (b"", "text/csv", IsthmusError),
        (b"no image", "image/png", IsthmusError),
        (b"RIFF", "audio/wav", IsthmusError),
    ],
)
def test_bodies_that_are_not_what_they_say_are_one_line(numbers, verb, body, content_type, error):
    with pytest.raises(error) as caught:
        ask(numbers, verb, body, content_type)
    assert len(str(caught.value).splitlines()) == 1


def test_rows_far_outside_of_those_trained_on_are_warned_of(numbers, caplog):
    ask(numbers, "detect", [[1e5, 20.0]])
    assert "request: has values far outside the trained range" in caplog.text


def test_a_request_that_would_fill_the_memory_is_refused():
    with pytest.raises(TooLarge, match="send fewer rows at once"):
        refuse_too_many(2**40)


def test_steps_of_series_are_scored_one_by_one(here):
    steps = np.arange(600)
    load = np.sin(steps / 4) + 0.05 * RNG.normal(size=600)
    pd.DataFrame({"load": load}).to_csv("train.csv", index=False)
    pair = pair_of("train.csv", window=16, columns=["load"])
    pair.detector.point_calibration = pair.detector.calibration
    new = load[:100].copy()
    answer = json.loads(ask(pair, "detect", [{"load": each} for each in new]).body)
    assert len(answer["rows"]) == 100
    assert "ranges" in answer
    denoised = json.loads(ask(pair, "denoise", [{"load": each} for each in new]).body)
    assert len(denoised["records"]) == 100
    short = json.loads(ask(pair, "detect", [{"load": 1.0}] * 3).body)
    assert {row["score"] for row in short["rows"]} == {None}


def test_every_form_has_an_ending_that_files_are_read_from():
    from isthmus.data.opening import all_endings

    assert set(ENDINGS.values()) - {".json"} <= set(all_endings())
