"""Files with plugins that a job names: what they may be called, and what is said of bad ones."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml

import isthmus
from isthmus import nets, variants
from isthmus.core import Autoencoder
from isthmus.errors import SpecError, TrainingError, UsageError
from isthmus.jobs.specs import check_job, load_job_file, plan_for
from isthmus.plugins import files
from isthmus.spec import JobSpec, ModelPlan
from isthmus.types import DataKind
from tests.own_plugins import example, write_example


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets all files that were imported, as another process that has imported none."""
    monkeypatch.setattr(files, "_table", files._Table())


def plan_of(spec: JobSpec) -> ModelPlan:
    data = spec.data.model_copy(update={"kind": DataKind.IMAGES, "scaling": "minmax"})
    return plan_for(spec, data, (1, 8, 8))


def refusal(folder: Path, text: str, **job: object) -> str:
    (folder / "mine.py").write_text(text)
    content = {"name": "a", "data": "sklearn:digits", "plugins": ["mine.py"], **job}
    with pytest.raises(SpecError) as refused:
        check_job(content)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_paths_are_relative_to_the_job_file_and_options_are_checked_as_built_in_ones(here):
    (here / "jobs").mkdir()
    job = write_example(here / "jobs")
    spec = load_job_file("jobs/job.yaml")
    assert spec.plugins == ("jobs/swirl.py",)
    assert spec.variant.name.partition("@")[0] == "swirl"
    assert spec.net.options == {"width": 128}
    assert plan_of(spec).latent_dim == 16
    with pytest.raises(SpecError, match=r"line 6: net\.width: -3 is not allowed"):
        load_job_file(job, ["net.width=-3"])
    with pytest.raises(SpecError, match=r"no such field; .* Valid: weight"):
        load_job_file(job, ["variant.wait=1"])


def test_a_checked_job_can_be_checked_again_while_its_file_is_the_same(here, elsewhere):
    spec = load_job_file(write_example(here))
    assert check_job(spec).variant == spec.variant
    stored = spec.model_dump(mode="json")
    files._table.names.clear()
    files._table.classes.clear()
    (here / "swirl.py").write_text(example("python") + "\n# another text\n")
    with pytest.raises(SpecError, match='"swirl" is of a file whose sha256 began with'):
        check_job(stored)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Broken(:\n", r"mine\.py, line 1: invalid syntax"),
        ("import math\nimport no_such_package\n", r"mine\.py, line 2: ModuleNotFoundError"),
        ("x = 1\ny = x / 0\n", r"mine\.py, line 2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", r"mine\.py, line 2: SystemExit"),
        ("x = 1\n", r"mine\.py, line 1: it defines no variant, net"),
        (
            "from isthmus.nets import Net\n\nclass Half(Net):\n"
            "    def encoder(self, outputs): ...\n",
            r"mine\.py, line 3: Half does not define decoder",
        ),
        (
            example("python").replace("class Swirl(", "class Vae("),
            "defines the variant vae, and Isthmus has one of that name",
        ),
        (
            "import isthmus\nisthmus.train({'name': 'a', 'data': 'x', 'plugins': ['mine.py']})\n",
            'runs a job while it is imported.*if __name__ == "__main__":',
        ),
    ],
    ids=["syntax", "import", "raises", "exits", "nothing", "unfinished", "built in", "trains"],
)
def test_a_bad_file_is_refused_in_one_line_with_its_place(here, text, said):
    assert re.search(said, refusal(here, text))


def test_a_missing_file_and_two_files_of_one_name_are_refused(here):
    job = write_example(here)
    job.write_text(job.read_text().replace("[swirl.py]", "[gone.py]"))
    with pytest.raises(SpecError, match=r"line 4: plugins: .*gone\.py: no such file"):
        load_job_file(job)
    (here / "other.py").write_text(example("python") + "# other\n")
    content = {"name": "a", "data": "x.csv", "plugins": ["swirl.py", "other.py"]}
    with pytest.raises(SpecError, match=r"other\.py defines the net two_layers, and swirl\.py has"):
        check_job(content)
    (here / "sub").mkdir()
    (here / "sub" / "swirl.py").write_text("# other\n")
    with pytest.raises(SpecError, match="have one name"):
        check_job({**content, "plugins": ["swirl.py", "sub/swirl.py"]})


def test_an_unknown_name_lists_those_of_the_file_too(here):
    job = write_example(here)
    with pytest.raises(SpecError, match='no variant "swril"; did you mean "swirl"'):
        load_job_file(job, ["variant=swril"])


def test_the_schema_of_a_job_file_knows_its_plugins(here, isthmus):
    job = write_example(here)
    printed = isthmus("schema", job)
    properties = json.loads(printed.out)["properties"]
    assert "swirl" in properties["variant"]["anyOf"][0]["enum"]
    jsonschema.validate(yaml.safe_load(job.read_text()), json.loads(printed.out))
    assert "swirl" not in isthmus("schema").out


def test_two_texts_of_one_file_work_side_by_side(here):
    job = write_example(here)
    first = plan_of(load_job_file(job))
    (here / "swirl.py").write_text(example("python").replace(".relu()", ".tanh()"))
    second = plan_of(load_job_file(job))
    rows = torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    before = variants.build(first)(rows)
    torch.manual_seed(0)
    after = variants.build(second)(rows)
    assert not torch.equal(before, after)


def test_a_plan_carries_its_files_to_a_process_that_has_not_imported_them(here, monkeypatch):
    plan = plan_of(load_job_file(write_example(here)))
    sent = pickle.dumps(plan)
    (here / "swirl.py").unlink()
    monkeypatch.setattr(files, "_table", files._Table())
    with pytest.raises(UsageError, match="a file that this process has not imported"):
        variants.build(plan)
    received = pickle.loads(sent)
    assert received == plan
    assert type(variants.build(received)).__name__ == "Swirl"


def test_a_corruption_and_a_score_of_a_file_are_chosen_as_built_in_ones(here):
    (here / "mine.py").write_text(
        "from isthmus.corruptions import Corruption\n"
        "from isthmus.scores import Score\n"
        "from isthmus.scores.own import Own\n"
        "class Rain(Corruption):\n"
        "    def __call__(self, x, level):\n"
        "        return x + level\n"
        "class Mine(Own):\n"
        "    '''As the variant itself.'''\n"
    )
    variant = {"name": "denoising", "corruption": "rain", "level": 0.5}
    spec = check_job(
        {"name": "a", "data": "sklearn:digits", "plugins": "mine.py", "variant": variant}
        | {"scoring": "mine"}
    )
    assert spec.scoring.name.startswith("mine@")
    module = variants.build(plan_of(spec))
    rows = torch.rand(3, 1, 8, 8)
    assert torch.allclose(module.noised(rows), rows + 0.5)


def test_build_takes_classes_also_those_of_a_notebook(here):
    defined: dict[str, object] = {"__name__": "notebook"}
    exec(example("python"), defined)  # a module without a file, as `__main__` of a notebook
    swirl, layers = defined["Swirl"], defined["TwoLayers"]
    module = isthmus.build(swirl, net={"name": layers, "width": 8}, row_shape=(1, 8, 8))
    assert type(module.autoencoder) is swirl
    assert module.autoencoder.encoder.hidden.out_features == 8
    again = isthmus.build({"name": swirl, "weight": 2.0}, row_shape=(5,), net="dense")
    assert again.autoencoder.options.weight == 2.0
    with pytest.raises(UsageError, match="Swirl is defined in a notebook"):
        check_job({"name": "a", "data": "x.csv", "variant": swirl})
    with pytest.raises(UsageError, match="Linear is no variant, net"):
        isthmus.build("plain", net=torch.nn.Linear, row_shape=(5,))


def test_a_checkpoint_of_a_class_is_loaded_where_it_was_built_once(here, elsewhere):
    defined: dict[str, object] = {"__name__": "notebook"}
    exec(example("python"), defined)
    module = isthmus.build(defined["Swirl"], row_shape=(5,))
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save({**checkpoint, "pytorch-lightning_version": "2.0.0"}, here / "own.ckpt")
    files._table.names.clear()
    files._table.classes.clear()
    with pytest.raises(UsageError, match="a file that this process has not imported"):
        type(module).load_from_checkpoint(here / "own.ckpt", weights_only=True)
    again = isthmus.build(defined["Swirl"], row_shape=(5,))
    loaded = type(again).load_from_checkpoint(here / "own.ckpt", weights_only=True)
    rows = torch.rand(3, 5)
    assert torch.equal(loaded.score(rows), module.score(rows))


def test_a_variant_with_hooks_of_lightning_is_refused_before_it_is_trained(here):
    class Hooked(variants.get("plain")):
        def configure_optimizers(self):
            raise AssertionError

        def on_train_epoch_end(self):
            raise AssertionError

    with pytest.raises(TrainingError, match="Hooked defines configure_optimizers, on_train_epoch"):
        isthmus.build(Hooked, row_shape=(5,))


def test_a_class_of_a_built_in_plugin_is_known_by_its_name():
    found = isthmus.build(variants.get("vae"), net=nets.get("dense"), row_shape=(5,))
    assert (found.plan.variant.name, found.plan.net.name) == ("vae", "dense")


def test_training_with_a_class_trains_what_its_file_says(here, monkeypatch):
    write_example(here)
    monkeypatch.syspath_prepend(str(here))
    import swirl  # type: ignore[import-not-found]

    rows = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    job = {"name": "a", "variant": swirl.Swirl, "net": swirl.TwoLayers}
    result = isthmus.train({**job, "training": {"epochs": 1, "ensemble": 1}}, data=rows)
    pair = isthmus.load(f"a/{result.pair.version}")
    assert {each.file for each in pair.manifest.plugins} == {"swirl.py"}
    assert isinstance(pair.module, Autoencoder)
