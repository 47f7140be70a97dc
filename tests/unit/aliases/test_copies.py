"""What MLflow's *Promote model* copies gives the right pair, wherever it was copied to."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus import aliases, registry
from isthmus.errors import ModelNotFound, RegistryError
from isthmus.registry import RegisteredPair
from isthmus.tracking import open_store
from isthmus.tracking.store import as_default_store

ROWS = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)


def press_promote(settings, half: str, source: RegisteredPair, name: str) -> int:
    """What the button does: the page copies source, run and tags, and nothing else."""
    client = open_store(settings)
    number = source.version if half == "encoder" else source.decoder_version
    version = client.get_model_version(f"{source.name}-{half}", str(number))
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    with as_default_store(settings.tracking_uri):
        copied = client.create_model_version(
            name,
            f"models:/{version.name}/{version.version}",
            run_id=version.run_id,
            tags=version.tags,
        )
    return int(copied.version)


@pytest.mark.slow
@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("suffix", ["-half", ""], ids=["NAME-half", "any name"])
def test_a_copy_of_either_half_in_any_model_is_the_pair_it_was(register, settings, half, suffix):
    register(f"source-{half}{suffix}", 1)
    second = register(f"source-{half}{suffix}", 2)
    name = f"copied-{half}{suffix}"
    registered = f"{name}-{half}" if suffix else name
    version = press_promote(settings, half, second, registered)
    if suffix and half == "decoder":
        aliases.reconcile(name, settings)
    open_store(settings).set_registered_model_alias(registered, "champion", str(version))
    expected = registry.load(str(second), settings)
    for reference in (f"{name}/{version}", f"{name}@champion"):
        found = registry.load(reference, settings)
        assert found.manifest.pair_id == second.pair_id
        np.testing.assert_array_equal(found.reconstruct(ROWS), expected.reconstruct(ROWS))


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_other_half_of_a_copy_is_copied_and_a_first_copy_is_champion(register, settings, half):
    register(f"whole-{half}", 1)
    second = register(f"whole-{half}", 2)
    name = f"production-{half}"
    press_promote(settings, half, second, f"{name}-{half}")
    if half == "encoder":  # used at once: whoever pressed the button meant it to be
        assert registry.load(name, settings).manifest.pair_id == second.pair_id
    (event,) = aliases.reconcile(name, settings)
    assert (event.to_version, event.source) == (1, "page")
    assert event.why == f"Promote model: whole-{half}-{half}/2"
    client = open_store(settings)
    for each in ("encoder", "decoder"):
        champion = client.get_model_version_by_alias(f"{name}-{each}", "champion")
        assert champion.tags["isthmus.pair_id"] == second.pair_id
        original = client.get_model_version(f"whole-{half}-{each}", "2")
        assert f"The **{each}** of **whole-{half}/2**" in champion.description
        assert champion.description == original.description
    (listed,) = registry.list_versions(name, settings)
    assert (listed.version, listed.decoder_version, listed.aliases) == (1, 1, ("champion",))
    assert aliases.reconcile(name, settings) == ()
    assert registry.load(name, settings).manifest.pair_id == second.pair_id


def test_a_later_copy_waits_for_its_alias(register, settings):
    first, second = register("waits", 1), register("waits", 2)
    press_promote(settings, "encoder", first, "live-encoder")
    aliases.reconcile("live", settings)
    press_promote(settings, "encoder", second, "live-encoder")
    assert aliases.reconcile("live", settings) == ()
    assert registry.load("live", settings).manifest.pair_id == first.pair_id
    aliases.promote("live", 2, settings)
    assert registry.load("live", settings).manifest.pair_id == second.pair_id
    assert aliases.rollback("live", settings).version == 1


def test_a_copy_outlives_what_it_was_copied_from(register, settings):
    pair = register("gone", 1)
    press_promote(settings, "encoder", pair, "kept-encoder")
    client = open_store(settings)
    client.delete_registered_model("gone-encoder")
    client.delete_registered_model("gone-decoder")
    aliases.promote("kept", 1, settings)
    assert registry.load("kept@champion", settings).manifest.pair_id == pair.pair_id


def test_copies_of_copies_are_the_first_ones_pair(register, settings):
    pair = register("origin", 1)
    press_promote(settings, "encoder", pair, "second-encoder")
    aliases.promote("second", 1, settings)
    copy = RegisteredPair("second", 1, 1, pair.pair_id)
    press_promote(settings, "encoder", copy, "third-encoder")
    assert registry.load("third/1", settings).manifest.pair_id == pair.pair_id


@pytest.mark.parametrize(("half", "other"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_a_half_that_was_copied_among_the_others_is_no_champion(register, settings, half, other):
    pair = register(f"astray-{half}", 1)
    name = f"crossed-{half}"
    version = press_promote(settings, half, pair, f"{name}-{other}")
    client = open_store(settings)
    client.set_registered_model_alias(f"{name}-{other}", "champion", str(version))
    assert aliases.reconcile(name, settings) == ()
    assert not client.search_registered_models(f"name='{name}-{half}'")
    if other == "encoder":
        with pytest.raises(ModelNotFound, match=f"holds the {half} of a pair"):
            aliases.promote(name, version, settings)


def test_a_half_that_was_copied_among_the_others_is_not_taken_for_the_other(register, settings):
    pair = register("intruded", 1)
    press_promote(settings, "encoder", pair, "intruded-decoder")
    press_promote(settings, "encoder", pair, "clean-decoder")
    press_promote(settings, "encoder", pair, "clean-encoder")
    for name in ("intruded", "clean"):
        aliases.promote(name, 1, settings)
        champion = open_store(settings).get_model_version_by_alias(f"{name}-decoder", "champion")
        assert champion.tags["isthmus.half"] == "decoder"


def test_a_model_that_isthmus_did_not_make_is_said_so(settings, register):
    register("mine")
    client = open_store(settings)
    client.create_registered_model("foreign-encoder")
    client.create_model_version("foreign-encoder", "s3://bucket/somewhere")
    with pytest.raises(RegistryError, match="was not registered by Isthmus"):
        registry.load("foreign/1", settings)
    with pytest.raises(ModelNotFound, match="no half of an Isthmus pair"):
        aliases.promote("foreign", 1, settings)
    client.set_registered_model_alias("foreign-encoder", "champion", "1")
    assert aliases.reconcile("foreign", settings) == ()
    assert client.get_registered_model("foreign-encoder").aliases == {"champion": 1}
