"""Plugins of an installed package: they are listed without torch, train, register and load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus import variants
from isthmus.errors import RegistryError, UsageError
from isthmus.jobs import choices
from isthmus.jobs.catalog import catalog
from isthmus.jobs.job_schema import schema
from tests.own_plugins import install_package


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path` with the package isthmus-swirl 1.2."""
    monkeypatch.syspath_prepend(str(install_package(tmp_path / "site")))
    yield tmp_path / "site"
    for name in ("isthmus_swirl", "isthmus_swirl.swirl"):
        sys.modules.pop(name, None)


def test_a_list_says_which_package_offers_what_and_imports_no_torch(tmp_path):
    site = install_package(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import json\n"
        "from isthmus.jobs.choices import choices, options\n"
        "found = {room: [(c.name, c.summary, c.origin) for c in choices(room)]\n"
        "         for room in ('variants', 'nets')}\n"
        "found['options'] = [o.name for o in options('nets', 'two_layers')]\n"
        "found['torch'] = 'torch' in sys.modules or 'isthmus_swirl' in sys.modules\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    origin = "isthmus-swirl 1.2"
    assert ["swirl", "Reconstruction, and a small latent.", origin] in found["variants"]
    assert ["two_layers", "Two linear layers in each half.", origin] in found["nets"]
    assert found["options"] == ["width"]
    assert found["torch"] is False


def test_the_commands_and_the_schema_know_them(installed, isthmus):
    listed = isthmus("nets")
    assert "isthmus-swirl 1.2" in listed.out
    shown = isthmus("variants", "swirl")
    assert "From isthmus-swirl 1.2." in shown.out
    assert "weight" in shown.out
    assert "swirl" in schema()["properties"]["variant"]["anyOf"][0]["enum"]


def test_only_a_list_with_others_says_where_each_is_from(isthmus):
    assert "from" not in isthmus("nets").out.splitlines()[0].split()


def test_a_pair_of_a_package_trains_registers_loads_and_is_refused_without_it(
    installed, here, monkeypatch
):
    rows = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    job = {"name": "packed", "variant": {"name": "swirl", "weight": 0.1}, "net": "two_layers"}
    result = isthmus.train({**job, "training": {"epochs": 1, "ensemble": 1}}, data=rows)
    assert result.plan.variant.name == "swirl"
    pair = isthmus.load("packed/1")
    assert pair.detect(rows).scores.shape == (60,)
    records = pair.manifest.plugins
    assert {(each.package, each.version) for each in records} == {("isthmus-swirl", "1.2")}
    assert set(isthmus.onnx_files("packed/1")) == {"encoder", "decoder", "score"}
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(installed)])
    with pytest.raises(
        RegistryError,
        match=r'packed/1 needs the variant "swirl" of the package isthmus-swirl, .* pip install',
    ):
        isthmus.load("packed/1", trust_plugins=True)


def test_a_name_that_is_taken_is_refused_where_it_would_be_chosen(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install_package(tmp_path / "site", offered="vae")))
    said = r"isthmus-swirl 1\.2 offers the variant vae, and Isthmus has one of that name"
    with pytest.raises(UsageError, match=said):
        catalog()
    with pytest.raises(UsageError, match=said):
        choices.choices("variants")
    # Pairs of the built-in one are loaded all the same.
    assert variants.get("vae").__module__ == "isthmus.variants.vae"


def test_two_packages_of_one_name_are_refused(tmp_path, monkeypatch):
    for package in ("isthmus-swirl", "isthmus-other"):
        folder = install_package(tmp_path / package, package=package)
        monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(UsageError, match=r"the variant swirl, and isthmus-.* has one of that name"):
        catalog()


def test_a_class_that_cannot_be_imported_is_said_with_its_package(installed):
    (installed / "isthmus_swirl" / "swirl.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match=r"swirl of the package isthmus-swirl 1\.2 cannot be imp"):
        isthmus.build("swirl", row_shape=(5,))
