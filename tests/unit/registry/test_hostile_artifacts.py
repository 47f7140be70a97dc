"""An artifact may hold anything; loading it runs none of it."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus import registry
from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.tracking import open_store

ROWS = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def artifact_of(name: str, half: str, settings) -> Path:
    """A registered half's folder in the store, where an attacker would write."""
    client = open_store(settings)
    version = client.get_model_version(f"{name}-{half}", "1")
    model_id = version.source.removeprefix("models:/")
    location = client.get_logged_model(model_id).artifact_location
    return Path(location.removeprefix("file://"))


@pytest.fixture
def planted(register, settings, tmp_path, request):
    """A registered pair with all that an attacker could think of in both artifacts."""
    name, witness = f"planted-{abs(hash(request.node.name))}", tmp_path / "it-ran"
    register(name)
    code = f"from pathlib import Path\nPath({str(witness)!r}).touch()\n"
    malicious = pickle.dumps(Payload(witness))
    for half in ("encoder", "decoder"):
        artifact = artifact_of(name, half, settings)
        content = artifact / "data" / "pair"
        for folder in (artifact, artifact / "data", content):
            for file in ("python_model.pkl", "model.pkl", "data.pt", "model.pth", "pair.pkl"):
                (folder / file).write_bytes(malicious)
            (folder / "code").mkdir()
            for file in ("planted.py", "sitecustomize.py", "isthmus.py", "__init__.py"):
                (folder / "code" / file).write_text(code, encoding="utf-8")
            (folder / "__init__.py").write_text(code, encoding="utf-8")
    yield name, witness
    assert "planted" not in sys.modules


def redirect_loader(artifact: Path) -> None:
    """Has MLflow import the planted module, from the artifact's own folder."""
    file = artifact / "MLmodel"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("loader_module: isthmus.registry.pyfunc", "loader_module: planted")
    changed = changed.replace("code: null", "code: code")
    assert changed.count("planted") == 1
    assert "code: code" in changed
    file.write_text(changed, encoding="utf-8")


def test_the_payload_would_run_if_it_were_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "it-ran")))
    assert (tmp_path / "it-ran").exists()


def test_isthmus_runs_nothing_of_what_an_artifact_holds(planted, settings):
    name, witness = planted
    for half in ("encoder", "decoder"):
        redirect_loader(artifact_of(name, half, settings))
    pair = registry.load(f"{name}/1", settings)
    assert pair.denoise(ROWS).shape == ROWS.shape
    assert set(registry.onnx_files(f"{name}/1", settings)) == {"encoder", "decoder", "score"}
    assert not witness.exists()
    kept = {path.name for path in registry.resolve(f"{name}/1", settings).folder.rglob("*.*")}
    assert not {name for name in kept if name.endswith((".pkl", ".pt", ".pth", ".py"))}


def test_mlflow_with_pickles_forbidden_loads_ours_and_runs_none(planted, settings, monkeypatch):
    from mlflow import pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    name, witness = planted
    loaded = pyfunc.load_model(str(artifact_of(name, "encoder", settings)))
    expected = registry.load(f"{name}/1", settings).encode(ROWS).values
    np.testing.assert_allclose(loaded.predict(ROWS), expected, rtol=1e-5)
    assert not witness.exists()


def test_mlflows_own_loading_does_as_mlmodel_says_which_is_why_isthmus_reads_none(
    planted, settings
):
    """What our documentation warns of; if MLflow stops doing so, the warning can go."""
    from mlflow import pyfunc

    name, witness = planted
    artifact = artifact_of(name, "encoder", settings)
    redirect_loader(artifact)
    path = sys.path[:]
    try:
        with pytest.raises(AttributeError):  # the planted module has no _load_pyfunc
            pyfunc.load_model(str(artifact))
    finally:
        sys.path[:] = path
        sys.modules.pop("planted", None)
    assert witness.exists()


@pytest.mark.parametrize("file", ["encoder.safetensors", "decoder.safetensors"])
def test_other_weights_are_refused_by_name(register, settings, file):
    name = f"other-{file.partition('.')[0]}"
    register(name)
    stored = artifact_of(name, file.partition(".")[0], settings) / "data" / "pair" / file
    save_file({key: value + 1 for key, value in load_file(stored).items()}, stored)
    with pytest.raises(RegistryError, match=rf"{file} is damaged: its sha256 is"):
        registry.load(f"{name}/1", settings)


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx", "score.onnx"])
def test_another_graph_is_refused_by_name(register, settings, file):
    name = f"graph-{file.partition('.')[0]}"
    register(name)
    half = "encoder" if file.startswith("encoder") else "decoder"
    stored = artifact_of(name, half, settings) / "data" / "pair" / file
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    with pytest.raises(RegistryError, match=rf"{file} is damaged: its sha256 is"):
        registry.onnx_files(f"{name}/1", settings)


def test_a_graph_that_is_gone_is_missed_by_name(register, settings):
    register("gone")
    (artifact_of("gone", "decoder", settings) / "data" / "pair" / "score.onnx").unlink()
    with pytest.raises(RegistryError, match=r"score\.onnx"):
        registry.onnx_files("gone/1", settings)
    assert registry.load("gone/1", settings).encode(ROWS).values.shape == (5, 2)


def test_weights_that_are_a_pickle_are_refused_and_not_run(register, settings, tmp_path):
    register("pickled")
    witness = tmp_path / "it-ran"
    for half in ("encoder", "decoder"):
        content = artifact_of("pickled", half, settings) / "data" / "pair"
        torch.save(Payload(witness), content / f"{half}.safetensors")
    with pytest.raises(RegistryError, match="is damaged"):
        registry.load("pickled/1", settings)
    assert not witness.exists()
    shutil.rmtree(content)


def content_of(name: str, half: str, settings) -> Path:
    return artifact_of(name, half, settings) / "data" / "pair"


def change_manifests(name: str, settings, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes `pair.json` in both halves, as whoever can write to the store could."""
    for half in ("encoder", "decoder"):
        file = content_of(name, half, settings) / "pair.json"
        raw = json.loads(file.read_text())
        change(raw)
        file.write_text(json.dumps(raw))


def refused_in_a_line(name: str, settings, said: str, half: str) -> None:
    """Both ways to load the pair end in an error of ours, at once and without its memory."""
    from mlflow import pyfunc

    for load in (
        lambda: registry.load(f"{name}/1", settings),
        lambda: pyfunc.load_model(str(artifact_of(name, half, settings))),
    ):
        began_s = time.process_time()
        with pytest.raises(RegistryError) as refused:
            load()
        assert time.process_time() - began_s < 20
        assert said in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


SIZES = {
    "a latent of 2^40 numbers": ("latent_dim", 2**40, "plan.latent_dim: Input should be less"),
    "a latent that the weights do not have": ("latent_dim", 2**27, "and the plan asks for"),
    "a row of 2^80 numbers": ("row_shape", [2**40, 2**40], "plan.row_shape"),
    "a row that the weights do not have": ("row_shape", [2**27], "and the plan asks for"),
    "a row of another rank": ("row_shape", [3, 2, 1], "is damaged"),
    "a row of no numbers": ("row_shape", [0], "plan.row_shape.0"),
    "a row without axes": ("row_shape", [], "plan.row_shape"),
    "a row that is no shape": ("row_shape", "x" * 1000, "plan.row_shape"),
}


@pytest.mark.parametrize(("field", "value", "said"), SIZES.values(), ids=SIZES.keys())
def test_a_size_that_the_weights_do_not_have_is_refused_before_memory_is_taken(
    register, settings, request, field, value, said
):
    name = f"sized-{abs(hash(request.node.name))}"
    register(name)
    change_manifests(name, settings, lambda raw: raw["plan"].update({field: value}))
    refused_in_a_line(name, settings, said, "encoder")


def huge_header(file: Path) -> None:
    file.write_bytes((2**60).to_bytes(8, "little") + b"{}")


def header_of_all_the_file(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(len(content).to_bytes(8, "little") + content)


def header_that_lies(file: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"0000")


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def other_type(file: Path) -> None:
    save_file({key: value.to(torch.int64) for key, value in load_file(file).items()}, file)


def other_shape(file: Path) -> None:
    save_file({key: value.flatten().repeat(2) for key, value in load_file(file).items()}, file)


def lacking_one(file: Path) -> None:
    tensors = load_file(file)
    # One of its own, because the other half has the scaling too.
    tensors.pop(next(name for name in tensors if name.startswith(("encoder.", "decoder."))))
    save_file(tensors, file)


def one_more(file: Path) -> None:
    save_file({**load_file(file), "planted": torch.zeros(3)}, file)


WEIGHTS = [
    *(huge_header, header_of_all_the_file, header_that_lies, cut_off, nothing),
    *(other_type, other_shape, lacking_one, one_more),
]


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("damage", WEIGHTS, ids=lambda made: made.__name__)
def test_weights_that_are_none_are_refused_even_where_their_hash_is_right(
    register, settings, damage, half
):
    name = f"weights-{damage.__name__}-{half}"
    register(name)
    file = content_of(name, half, settings) / f"{half}.safetensors"
    copy = file.with_name("copy.safetensors")  # the store's file may be a hard link
    shutil.copyfile(file, copy)
    damage(copy)
    copy.replace(file)
    change_manifests(name, settings, lambda raw: raw["sha256"].update({half: sha256_of(file)}))
    refused_in_a_line(name, settings, "is damaged", half)


def test_a_manifest_nested_more_deeply_than_the_stack_is_refused(register, settings):
    register("nested")
    for half in ("encoder", "decoder"):
        (content_of("nested", half, settings) / "pair.json").write_text("[" * 100_000)
    refused_in_a_line("nested", settings, "pair.json is damaged", "encoder")


MANIFESTS = {
    "no hashes": (lambda raw: raw.update(sha256={}), "sha256 has no encoder and no decoder"),
    "no model": (lambda raw: raw["models"].pop("decoder"), "models has no decoder"),
    "a text for a list": (
        lambda raw: raw["data"].update(columns="xxx"),
        "data.columns: Input should be a list, not 'xxx'",
    ),
}


@pytest.mark.parametrize(("change", "said"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_damaged_manifest_is_told_by_its_field(register, settings, request, change, said):
    name = f"manifest-{request.node.callspec.id.replace(' ', '-')}"
    register(name)
    change_manifests(name, settings, change)
    refused_in_a_line(name, settings, said, "encoder")


def test_a_damaged_artifact_is_named_by_its_place_in_the_store(register, settings):
    register("placed")
    stored = content_of("placed", "decoder", settings)
    (stored / "decoder.safetensors").write_bytes(b"")
    with pytest.raises(
        RegistryError, match=r"decoder\.safetensors is damaged: its sha256"
    ) as refused:
        registry.load("placed/1", settings)
    assert str(stored) in str(refused.value)
    assert ".fetching-" not in str(refused.value)
    change_manifests("placed", settings, lambda raw: raw.update(sha256={}))
    with pytest.raises(RegistryError, match=r"/pair\.json is damaged, or was written") as refused:
        registry.load("placed/1", settings)
    assert str(settings.cache) not in str(refused.value)


def test_a_graph_without_a_hash_is_missed_by_name(register, settings):
    register("unhashed")
    change_manifests("unhashed", settings, lambda raw: raw["onnx"]["sha256"].pop("score.onnx"))
    with pytest.raises(RegistryError, match=r"has no hash of score\.onnx"):
        registry.onnx_files("unhashed/1", settings)
