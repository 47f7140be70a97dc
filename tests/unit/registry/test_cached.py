"""A cached pair is hashed once, and again when a file of it changed; lists are read in pages."""

from __future__ import annotations

import os

import pytest

from isthmus import aliases, registry
from isthmus.bundle import manifest, verification
from isthmus.errors import RegistryError


@pytest.fixture
def hashed(monkeypatch):
    """The files that were hashed."""
    files: list[str] = []
    sha256_of = manifest.sha256_of

    def note(file):
        files.append(file.name)
        return sha256_of(file)

    monkeypatch.setattr(manifest, "sha256_of", note)
    monkeypatch.setattr(verification, "_TICK_NS", 0)
    return files


def test_a_cached_pair_is_hashed_once(register, settings, hashed):
    reference = str(register("rested"))
    registry.resolve(reference, settings)
    del hashed[:]
    registry.resolve(reference, settings)
    assert hashed == []


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_one_changed_byte_in_the_cache_is_found_whatever_its_times_say(
    register, settings, hashed, half
):
    found = registry.resolve(str(register(f"changed-{half}")), settings)
    registry.resolve(found.reference, settings)
    file = found.folder / f"{half}.safetensors"
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RegistryError, match=rf"{half}\.safetensors is damaged"):
        registry.resolve(found.reference, settings)


def test_the_newest_versions_are_listed_and_all_on_demand(register, settings):
    for seed in range(3):
        register("paged", seed)
    aliases.promote("paged", 1, settings)
    assert [v.version for v in registry.list_versions("paged", settings, 2)] == [3, 2]
    listed = registry.list_versions("paged", settings, None)
    assert [v.version for v in listed] == [3, 2, 1]
    assert [v.aliases for v in listed] == [(), (), ("champion",)]


def test_a_pair_whose_decoder_was_deleted_is_not_listed(register, settings):
    from isthmus.tracking import open_store

    for seed in range(2):
        register("halved-later", seed)
    open_store(settings).delete_model_version("halved-later-decoder", "2")
    assert [v.version for v in registry.list_versions("halved-later", settings)] == [1]
