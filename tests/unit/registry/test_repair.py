"""Half a pair is never offered: what died between two versions is completed or removed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus import aliases, registry
from isthmus.errors import ModelNotFound, RegistryError
from isthmus.registry import versions
from isthmus.registry.owner import Owner
from isthmus.tracking import open_store


@pytest.fixture
def die_between(trained, settings, monkeypatch):
    """Registers a pair in a process that dies when only the decoder has a version."""

    def run(name: str) -> registry.TrainedPair:
        pair = trained(name)
        make = versions.make_version

        def die_at_the_encoder(client, registered, half, *rest):
            if half == "encoder":
                raise KeyboardInterrupt
            return make(client, registered, half, *rest)

        dead = replace(Owner.current(), started=0.0)
        with monkeypatch.context() as patch:
            patch.setattr(Owner, "current", lambda: dead)
            patch.setattr(versions, "make_version", die_at_the_encoder)
            patch.setattr(versions, "_take_back", lambda *_: None)
            with pytest.raises(KeyboardInterrupt):
                registry.register_pair(pair, settings)
        assert versions_of(settings, f"{name}-decoder") == [1]
        assert versions_of(settings, f"{name}-encoder") == []
        return pair

    return run


def versions_of(settings, name) -> list[int]:
    found = open_store(settings).search_model_versions(f"name='{name}'")
    return sorted(int(version.version) for version in found)


def pending(settings, name) -> list[str]:
    found = open_store(settings).get_registered_model(f"{name}-encoder").tags
    return [key for key in found if key.startswith("isthmus.pending.")]


@pytest.mark.parametrize("command", ["list", "reconcile", "register", "promote"])
def test_the_next_command_completes_a_pair_of_which_one_half_was_registered(
    die_between, register, settings, command
):
    name = f"orphan-{command}"
    pair = die_between(name)
    with pytest.raises(ModelNotFound):
        registry.load(f"{name}/1", settings)
    if command == "list":
        assert [v.version for v in registry.list_versions(name, settings)] == [1]
    elif command == "reconcile":
        aliases.reconcile(name, settings)
    elif command == "register":
        assert register(name, 7).version == 2
    else:
        aliases.promote(name, 1, settings)
    assert versions_of(settings, f"{name}-encoder")[0] == 1
    assert versions_of(settings, f"{name}-decoder")[0] == 1
    assert pending(settings, name) == []
    loaded = registry.load(f"{name}/1", settings)
    assert loaded.manifest.run_id == pair.run_id


def test_a_half_whose_files_are_gone_is_removed(die_between, settings, caplog):
    die_between("emptied")
    client = open_store(settings)
    (decoder,) = client.search_model_versions("name='emptied-decoder'")
    model = client.get_logged_model(decoder.source.removeprefix("models:/"))
    folder = Path(model.artifact_location.removeprefix("file://"))
    (folder / "data/pair/decoder.safetensors").unlink()
    with pytest.raises(ModelNotFound):
        aliases.promote("emptied", 1, settings)
    aliases.reconcile("emptied", settings)
    assert versions_of(settings, "emptied-decoder") == []
    assert pending(settings, "emptied") == []
    assert "emptied" not in [model.name for model in registry.list_models(settings)]
    assert "half a pair of emptied is removed" in caplog.text


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_half_whose_model_was_deleted_stops_no_other(die_between, register, settings, half):
    name = f"deleted-{half}"
    die_between(name)
    client = open_store(settings)
    (key,) = pending(settings, name)
    models = json.loads(client.get_registered_model(f"{name}-encoder").tags[key])["models"]
    client.delete_logged_model(models[half])
    aliases.reconcile(name, settings)
    assert versions_of(settings, f"{name}-decoder") == []
    assert pending(settings, name) == []
    aliases.promote(name, register(name, 1).version, settings)


def test_what_a_living_process_is_at_is_left_to_it(die_between, settings):
    alive = Owner.current()
    die_between("living")
    client = open_store(settings)
    (key,) = pending(settings, "living")
    content = client.get_registered_model("living-encoder").tags[key]
    content = content.replace('"started": 0.0', f'"started": {alive.started}')
    client.set_registered_model_tag("living-encoder", key, content)
    aliases.reconcile("living", settings)
    assert versions_of(settings, "living-encoder") == []
    assert pending(settings, "living") == [key]


def test_the_same_training_is_registered_once(trained, settings):
    pair = trained("once")
    first = registry.register_pair(pair, settings)
    assert registry.register_pair(pair, settings) == first
    assert versions_of(settings, "once-encoder") == versions_of(settings, "once-decoder") == [1]


def test_a_version_whose_answer_was_lost_is_not_made_twice(trained, settings, monkeypatch):
    from mlflow.tracking import MlflowClient

    create, lost = MlflowClient.create_model_version, []

    def lose_the_first_answer(self, name, *args, **kwargs):
        made = create(self, name, *args, **kwargs)
        if name not in lost:
            lost.append(name)
            raise ConnectionResetError("the connection broke")
        return made

    monkeypatch.setattr(MlflowClient, "create_model_version", lose_the_first_answer)
    pair = registry.register_pair(trained("twice"), settings)
    assert lost == ["twice-decoder", "twice-encoder"]
    assert (pair.version, pair.decoder_version) == (1, 1)
    assert versions_of(settings, "twice-encoder") == versions_of(settings, "twice-decoder") == [1]


def test_a_registration_that_is_refused_leaves_nothing_to_repair(trained, settings, monkeypatch):
    from mlflow.tracking import MlflowClient

    create = MlflowClient.create_model_version

    def fail_for_the_encoder(self, name, *args, **kwargs):
        if name.endswith("-encoder"):
            raise OSError("the disk is full")
        return create(self, name, *args, **kwargs)

    pair = trained("refused")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", fail_for_the_encoder)
        with pytest.raises(RegistryError, match="the disk is full"):
            registry.register_pair(pair, settings)
    assert versions_of(settings, "refused-decoder") == []
    assert pending(settings, "refused") == []
    assert registry.register_pair(pair, settings).version == 1
