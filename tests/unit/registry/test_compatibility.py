"""A new version's latents, as those of the champion that it was registered beside."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from torch import nn

from isthmus import aliases, api, registry
from isthmus.bundle.compatibility import MAPS_FILE
from isthmus.core import Autoencoder
from isthmus.errors import RegistryError
from isthmus.registry import Latents, TrainedPair, alignment
from isthmus.spec import RowSchema
from isthmus.tracking import open_store
from isthmus.types import DataKind

# Each registers several pairs, and fits the maps between them.
pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(1).standard_normal((600, 6)).astype(np.float32)
FIT, TEST = ROWS[:400], ROWS[400:]


def rotated(module: Autoencoder, rotation: np.ndarray) -> Autoencoder:
    """Turns the latent space of a module, on both of its sides, so that it does what it did."""
    turn = torch.from_numpy(rotation.astype(np.float32))
    last = [each for each in module.encoder.modules() if isinstance(each, nn.Linear)][-1]
    first = next(each for each in module.decoder.modules() if isinstance(each, nn.Linear))
    with torch.no_grad():
        last.weight.copy_(turn.T @ last.weight)
        last.bias.copy_(last.bias @ turn)
        first.weight.copy_(first.weight @ turn)
    return module


@pytest.fixture
def succeed(settings):
    """Registers a trained pair beside the champion of its name, as the training job does."""

    def run(trained: TrainedPair, *, promote: bool = False) -> str:
        found = registry.find_succession(
            trained.spec.name, trained.module, trained.data, FIT, TEST, settings
        )
        pair = registry.register_pair(replace(trained, succession=found), settings)
        if promote:
            aliases.promote(pair.name, pair.version, settings)
        return str(pair)

    return run


def test_a_champion_with_another_centre_is_given_the_same_rows(trained, settings):
    """The scaling of the champion makes up for its centre: both map a row to the same latent."""
    old, new = trained("centred", 0), trained("centred", 0)
    old.module.scaling.offset.fill_(-3.0)
    schema = RowSchema(kind=DataKind.TABULAR, shape=(6,), centre=(1e8 + 3,) * 6)
    pair = registry.register_pair(replace(old, row_schema=schema), settings)
    aliases.promote(pair.name, pair.version, settings)
    ours = schema.model_copy(update={"centre": (1e8,) * 6})
    found = registry.find_succession(
        "centred", new.module, new.data, FIT, TEST, settings, schema=ours
    )
    assert found.alignment is not None
    assert found.alignment.errors["affine"] < 1e-8


def test_a_rotated_space_is_mapped_back_to_float_precision(trained, succeed, settings):
    old = succeed(trained("turned", 0), promote=True)
    pair = trained("turned", 0)
    rotated(pair.module, ortho_group.rvs(2, random_state=3))
    new = succeed(pair)
    said = registry.resolve(new, settings).manifest.compatibility
    assert said.champion == old
    assert said.errors["procrustes"] < 1e-10
    assert said.errors["affine"] < 1e-10
    assert said.scale == pytest.approx(1)
    first, loaded = (
        registry.load(old, settings),
        api.load(new, compatible_with=old, settings=settings),
    )
    latents = loaded.encode(TEST)
    expected = first.encode(TEST)
    np.testing.assert_allclose(latents.values, expected.values, atol=1e-5)
    assert latents.pair_id == expected.pair_id
    np.testing.assert_allclose(first.decode(latents), first.reconstruct(TEST), atol=1e-4)
    np.testing.assert_allclose(loaded.decode(expected), loaded.reconstruct(TEST), atol=1e-4)
    with pytest.raises(RegistryError, match=f"takes those of {old}"):
        loaded.decode(registry.load(new, settings).encode(TEST))
    assert repr(loaded).endswith(f", as latents of {old}>")


def test_maps_lead_through_several_versions(trained, succeed, settings):
    versions = []
    for seed in range(3):
        pair = trained("chained", 0)
        rotated(pair.module, ortho_group.rvs(2, random_state=seed + 5))
        versions.append(succeed(pair, promote=True))
    loaded = registry.load_compatible("chained@champion", versions[0], settings)
    assert [(step.source, step.target) for step in loaded.steps] == [
        ("chained/3", "chained/2"),
        ("chained/2", "chained/1"),
    ]
    expected = registry.load(versions[0], settings).encode(TEST).values
    np.testing.assert_allclose(loaded.encode(TEST).values, expected, atol=1e-5)
    with pytest.raises(RegistryError, match=r"chained/1 has no map to any pair's latents"):
        registry.load_compatible(versions[0], versions[2], settings)


def test_a_pair_is_compatible_with_itself(register, settings):
    pair = str(register("itself"))
    loaded = registry.load_compatible(pair, pair, settings)
    assert loaded.encode(TEST).pair_id == loaded.manifest.pair_id


def test_where_maps_end_is_said(trained, succeed, settings):
    succeed(trained("broken", 0), promote=True)
    succeed(trained("broken", 1), promote=True)
    registry.register_pair(trained("unmapped", 3), settings)
    with pytest.raises(RegistryError, match=r"maps of broken/2 lead to broken/1 and no"):
        registry.load_compatible("broken/2", "unmapped/1", settings)


def test_the_better_map_is_used_and_its_error_is_what_it_makes(trained, succeed, settings):
    old = succeed(trained("sheared", 0), promote=True)
    new = succeed(trained("sheared", 1))
    said = registry.resolve(new, settings).manifest.compatibility
    assert said.best == "affine"
    loaded = registry.load_compatible(new, old, settings)
    found, wanted = loaded.encode(TEST).values, registry.load(old, settings).encode(TEST).values
    share = np.square(found - wanted).sum() / np.square(wanted - wanted.mean(axis=0)).sum()
    assert share == pytest.approx(said.error, rel=1e-3)
    tags = open_store(settings).get_model_version("sheared-encoder", "2").tags
    assert tags["isthmus.latents_of"] == old
    assert float(tags["isthmus.latent_error.affine"]) == pytest.approx(said.error, rel=1e-4)
    assert float(tags["isthmus.latent_error.procrustes"]) > said.error


def test_a_changed_byte_in_the_maps_is_refused_by_the_name_of_the_file(trained, succeed, settings):
    old, new = succeed(trained("spoilt", 0), promote=True), succeed(trained("spoilt", 1))
    file = registry.resolve(new, settings).folder / MAPS_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RegistryError, match=r"compatibility\.safetensors is damaged"):
        registry.load_compatible(new, old, settings)


def test_other_rows_and_a_damaged_champion_leave_the_pair_without_maps(
    trained, succeed, settings, caplog
):
    old = succeed(trained("lonely", 0), promote=True)
    pair = trained("lonely", 1)
    other = replace(pair, data=pair.data.model_copy(update={"columns": tuple("abcdef")}))
    with caplog.at_level(logging.WARNING):
        assert registry.resolve(succeed(other), settings).manifest.compatibility is None
        assert "it takes other columns" in caplog.text
        shutil.copy(
            registry.resolve("lonely/2", settings).folder / "encoder.safetensors",
            registry.resolve(old, settings).folder / "encoder.safetensors",
        )
        assert registry.resolve(succeed(pair), settings).manifest.compatibility is None
        assert "encoder.safetensors is damaged" in caplog.text


def test_a_map_that_loses_something_refuses_to_decode_and_names_who_can(trained, succeed, settings):
    old = succeed(trained("wide", 0), promote=True)
    pair = trained("wide", 1)
    rotated(pair.module, np.diag([1.0, 0.0]))  # the second number of a latent is dead
    loaded = registry.load_compatible(succeed(pair), old, settings)
    with pytest.raises(RegistryError, match=rf"decode them with {old}"):
        loaded.decode(Latents(np.zeros((1, 2), np.float32), loaded.translation.target_id))


def tampered(reference, settings, **compatibility) -> None:
    """Changes what pair.json of a pair on this machine says of its maps."""
    file = registry.resolve(reference, settings).folder / "pair.json"
    content = json.loads(file.read_text())
    content["compatibility"] |= compatibility
    file.write_text(json.dumps(content))


def test_maps_that_lead_in_a_circle_are_said_and_not_followed_for_ever(trained, succeed, settings):
    for seed in range(3):
        succeed(trained("circle", seed), promote=True)
    last = registry.resolve("circle/3", settings).manifest
    tampered("circle/2", settings, champion="circle/3", pair_id=last.pair_id)
    with pytest.raises(RegistryError, match=r"maps of circle/3 lead in a circle"):
        registry.load_compatible("circle/3", "circle/1", settings)


def test_maps_without_errors_are_refused_in_one_line(trained, succeed, settings):
    for seed in range(2):
        succeed(trained("errorless", seed), promote=True)
    tampered("errorless/2", settings, errors={})
    with pytest.raises(RegistryError, match=r"pair\.json is damaged") as raised:
        registry.load_compatible("errorless/2", "errorless/1", settings)
    assert "\n" not in str(raised.value)


def test_of_large_rows_few_are_read_and_fewer_at_once(trained, succeed, settings, monkeypatch):
    succeed(trained("large", 0), promote=True)
    monkeypatch.setattr(alignment, "_MOST_NUMBERS_READ", 6 * 100)
    monkeypatch.setattr(alignment, "_NUMBERS_IN_A_BATCH", 6 * 8)
    sizes = []

    class Rows:
        def __len__(self):
            return len(ROWS)

        def __getitem__(self, rows):
            sizes.append(len(ROWS[rows]))
            return ROWS[rows]

    pair = trained("large", 1)
    found = registry.find_succession("large", pair.module, pair.data, Rows(), Rows(), settings)
    assert found.alignment is not None
    assert found.alignment.rows == 100
    assert max(sizes) <= 8


def test_a_champion_that_fails_at_encoding_costs_no_training(
    trained, succeed, settings, monkeypatch, caplog
):
    succeed(trained("failing", 0), promote=True)
    real = alignment.load

    def load(*arguments):
        pair = real(*arguments)
        pair.module.encode = lambda x: x @ torch.zeros(5, 5)
        return pair

    monkeypatch.setattr(alignment, "load", load)
    new = succeed(trained("failing", 1))
    assert registry.resolve(new, settings).manifest.compatibility is None
    assert "latents are not mapped to those of failing/1: mat1 and mat2" in caplog.text
