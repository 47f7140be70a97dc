"""An artifact may hold anything; loading it runs none of it."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus import registry
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
