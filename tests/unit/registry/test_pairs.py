"""Pairs are registered whole, resolved whole, and never mixed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from isthmus import aliases, registry
from isthmus.errors import DataError, ModelNotFound, RegistryError, UsageError
from isthmus.registry import Latents, Reference
from isthmus.tracking import open_store

ROWS = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)


def test_a_registered_pair_gives_back_what_the_module_gave(trained, settings):
    pair = trained("same")
    registered = registry.register_pair(pair, settings)
    loaded = registry.load(str(registered), settings)
    again = registry.load(str(registered), settings)  # from the cache
    for each in (loaded, again):
        expected = pair.module.reconstruct(torch.from_numpy(ROWS)).detach().numpy()
        np.testing.assert_array_equal(each.reconstruct(ROWS), expected)
        scores = pair.detector.score(torch.from_numpy(ROWS)).detach().numpy()
        np.testing.assert_array_equal(each.detect(ROWS).scores, scores)
    assert loaded.manifest.pair_id == registered.pair_id
    assert loaded.manifest.metrics["test/pca_mse"] == 0.6


def test_a_loaded_pair_does_not_change_the_rows_that_it_is_given(trained, settings):
    loaded = registry.load(str(registry.register_pair(trained("own"), settings)), settings)
    given = ROWS.copy()
    loaded.detect(given)
    np.testing.assert_array_equal(given, ROWS)


def test_versions_count_up_and_are_listed_newest_first(register, settings):
    assert [register("counted", seed).version for seed in range(3)] == [1, 2, 3]
    listed = registry.list_versions("counted", settings)
    assert [version.version for version in listed] == [3, 2, 1]
    assert "counted" in [model.name for model in registry.list_models(settings)]
    assert [version.aliases for version in listed] == [(), (), ()]


def test_an_alias_moves_on_both_halves_and_tells_what_had_it(register, settings):
    register("moved", 0)
    register("moved", 1)
    assert aliases.promote("moved", 1, settings).previous is None
    assert aliases.promote("moved", 2, settings).previous == 1
    client = open_store(settings)
    for half in ("encoder", "decoder"):
        assert client.get_model_version_by_alias(f"moved-{half}", "champion").version in (2, "2")
    assert registry.load("moved@champion", settings).reference == "moved/2"
    assert registry.load("moved", settings).reference == "moved/2"


def test_if_the_second_half_fails_the_first_is_taken_back(trained, settings, monkeypatch):
    from mlflow.tracking import MlflowClient

    create = MlflowClient.create_model_version

    def fail_for_the_encoder(self, name, *args, **kwargs):
        if name.endswith("-encoder"):
            raise OSError("the disk is full")
        return create(self, name, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_model_version", fail_for_the_encoder)
    with pytest.raises(RegistryError, match="the disk is full"):
        registry.register_pair(trained("halved"), settings)
    client = open_store(settings)
    assert list(client.search_model_versions("name='halved-decoder'")) == []


def test_a_decoder_refuses_the_latents_of_another_pair(register, settings):
    first = registry.load(str(register("ours", 0)), settings)
    other = registry.load(str(register("theirs", 1)), settings)
    latents = first.encode(ROWS)
    np.testing.assert_allclose(first.decode(latents), first.reconstruct(ROWS), rtol=1e-6)
    with pytest.raises(RegistryError, match="decode them with the pair that made them"):
        other.decode(latents)
    with pytest.raises(RegistryError):
        first.decode(Latents(latents.values, "0" * 16))


def test_halves_of_two_pairs_are_never_given_out_as_one(register, settings):
    first, second = (registry.resolve(str(register("mixed", seed)), settings) for seed in range(2))
    shutil.copy(second.folder / "decoder.safetensors", first.folder / "decoder.safetensors")
    with pytest.raises(RegistryError, match=r"decoder\.safetensors is damaged"):
        registry.resolve(first.reference, settings)


def test_a_decoder_that_was_deleted_is_said_so_when_its_pair_is_promoted(register, settings):
    pair = register("widowed")
    open_store(settings).delete_model_version("widowed-decoder", str(pair.decoder_version))
    with pytest.raises(ModelNotFound, match="it was deleted"):
        aliases.promote("widowed", 1, settings)


@pytest.mark.parametrize(
    "name", ["../up", "a b", "a/b/c", "ä", "", "@champion", "a@", "a/0x1", "a@b.c"]
)
def test_names_that_are_none_are_refused(settings, name):
    with pytest.raises(ModelNotFound, match="names no model"):
        registry.load(name, settings)


@pytest.mark.parametrize("alias", ["v3", "V3", "12", "Latest", "a b", "", "v1.2", "x" * 256])
def test_aliases_that_mlflow_would_not_take_are_refused(register, settings, alias):
    with pytest.raises(UsageError, match="cannot be an alias"):
        aliases.promote("any", 1, settings, alias)


def test_looking_into_an_empty_folder_makes_no_store(tmp_path, settings):
    empty = settings.model_copy(
        update={"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "home": tmp_path / "home"}
    )
    assert registry.list_models(empty) == []
    with pytest.raises(ModelNotFound, match=r"isthmus train JOB\.yaml"):
        registry.load("digits", empty)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_do_not_fit_are_refused_and_flat_or_empty_ones_are_taken(register, settings):
    pair = registry.load(str(register("shaped")), settings)
    with pytest.raises(DataError, match=r"do not fit shaped/1, which takes \(6,\)"):
        pair.denoise(np.zeros((3, 5)))
    with pytest.raises(DataError, match="are not numbers"):
        pair.denoise(np.array([["a"] * 6]))
    assert pair.denoise(np.zeros((0, 6))).shape == (0, 6)
    assert pair.detect(ROWS.tolist()).scores.shape == (7,)


def test_tags_stand_on_both_halves(register, settings):
    register("tagged")
    registry.annotate("tagged/1", {"isthmus.verdict": "better"}, settings)
    client = open_store(settings)
    for half in ("encoder", "decoder"):
        found = client.get_model_version(f"tagged-{half}", "1").tags
        assert found["isthmus.verdict"] == "better"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits", Reference("digits", None, "champion")),
        ("digits@next", Reference("digits", None, "next")),
        ("digits/12", Reference("digits", 12, None)),
        ("my.digits-v2/1", Reference("my.digits-v2", 1, None)),
    ],
)
def test_references_are_read_as_people_write_them(text, expected):
    assert Reference.parse(text) == expected
