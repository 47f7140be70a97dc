"""A job file: short when right, and every fault named when wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from isthmus.errors import SpecError
from isthmus.jobs.job_schema import schema
from isthmus.jobs.specs import check_job, load_job_file


def faults(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_job_file(path, overrides)
    prefix = f"{path}: "
    lines = str(caught.value).splitlines()
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def test_a_name_and_a_path_are_a_whole_job(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: tiny\ndata: rows.csv\n")
    spec = load_job_file(path)
    assert spec.data.path == "rows.csv"
    assert spec.variant.name == "plain"
    assert spec.net.name == "auto"
    assert spec.training.rows_per_step == spec.training.global_batch_size


def test_set_changes_any_field_by_its_dotted_name(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: tiny\ndata: rows.csv\nvariant: vae\n")
    spec = load_job_file(
        path,
        ["training.epochs=5", "training.learning_rate=1e-4", "variant.beta=4", "data.window=8"],
    )
    assert spec.training.epochs == 5
    assert spec.training.learning_rate == 1e-4
    assert spec.variant.options["beta"] == 4.0
    assert (spec.data.path, spec.data.window) == ("rows.csv", 8)


def test_a_spec_given_back_as_a_mapping_is_the_same_spec() -> None:
    spec = check_job({"name": "tiny", "data": "rows.csv", "variant": {"name": "vae", "beta": 2}})
    assert check_job(spec.model_dump(mode="json")) == spec


WRONG_FILES = {
    "an unknown field, with the nearest": (
        "name: a\ndata: x.csv\ntraining:\n  epochz: 3\n",
        'line 4: training.epochz: no such field; did you mean "epochs"?',
    ),
    "an unknown variant, with the nearest": (
        "name: a\ndata: x.csv\nvariant: denoise\n",
        'line 3: variant: no variant "denoise"; did you mean "denoising"?',
    ),
    "an unknown net": (
        "name: a\ndata: x.csv\nnet: {name: konv}\n",
        'line 3: net: no net "konv"; did you mean "conv"?',
    ),
    "an option that the variant does not have": (
        "name: a\ndata: x.csv\nvariant:\n  name: vae\n  level: 1\n",
        "line 5: variant.level: no such field; Valid: beta",
    ),
    "a number out of range": (
        "name: a\ndata: x.csv\ntraining: {learning_rate: -1}\n",
        "line 3: training.learning_rate: -1 is not allowed; use greater than 0",
    ),
    "a word where a number belongs": (
        "name: a\ndata: x.csv\ntraining: {epochs: many}\n",
        "line 3: training.epochs: 'many' is not allowed; use a valid integer",
    ),
    "a batch that the workers cannot share": (
        "name: a\ndata: x.csv\ntraining: {workers: 3, global_batch_size: 100}\n",
        "line 3: training: global_batch_size=100 is not divisible by workers=3; use 99 or 102",
    ),
    "no data": ("name: a\n", "data: is missing; it has no default"),
    "a name that could not be registered": (
        "name: ../a\ndata: x.csv\n",
        "line 1: name: '../a' is not a name; use letters, digits",
    ),
    "a field given twice": (
        "name: a\ndata: x.csv\nname: b\n",
        "line 3: name: stands twice, first on line 1; keep one",
    ),
    "what is not YAML": ("name: [a\ndata: x.csv\n", "line 2: is not YAML"),
    "a list": ("- name: a\n", "holds a list; it needs fields such as name and data"),
    "an empty file": ("", "is empty; it needs at least name and data"),
    "bce on values that are not in [0, 1]": (
        "name: a\ndata: {path: x.csv, kind: tabular}\nreconstruction: bce\n",
        "reconstruction: bce needs values in [0, 1]",
    ),
    "a net for other data": (
        "name: a\ndata: {path: x.csv, kind: tabular}\nnet: conv\n",
        'net: "conv" does not take tabular; use auto or dense',
    ),
    "options for auto": (
        "name: a\ndata: x.csv\nnet: {name: auto, hidden: [3]}\n",
        "line 3: net.hidden: auto takes no options; name the net: compressive, conv, dense",
    ),
    "kept labels without labels": (
        "name: a\ndata: {path: x.csv, keep_labels: [0]}\n",
        "line 2: data: keep_labels needs labels",
    ),
    "nothing left to train on": (
        "name: a\ndata: {path: x.csv, test_fraction: 0.8, validation_fraction: 0.3}\n",
        "line 2: data: validation_fraction + test_fraction = 1.1 leaves too little",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_one_fault_is_one_line_with_place_value_and_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = faults(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_all_faults_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "name: a b\ndata: {path: x.csv, windw: 3}\nvariant: vea\ntraining: {epochs: 0}\n"
    found = faults(tmp_path, text)
    assert [fault.split(":")[0] for fault in found] == ["line 1", "line 2", "line 3", "line 4"]


def test_a_wrong_override_is_told_without_a_line(tmp_path: Path) -> None:
    assert faults(tmp_path, "name: a\ndata: x.csv\n", "training.epochs=0") == [
        "training.epochs: 0 is not allowed; use greater than or equal to 1"
    ]
    assert faults(tmp_path, "name: a\ndata: x.csv\n", "epochs") == [
        '--set: "epochs" is not NAME=VALUE, as in training.epochs=5'
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: no such file"):
        load_job_file(tmp_path / "nowhere.yaml")


def test_the_schema_takes_what_is_right_and_refuses_what_is_wrong() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(validator.schema)
    right = yaml.safe_load("{name: a, data: {path: x.csv}, variant: {name: vae, beta: 2}}")
    assert list(validator.iter_errors(right)) == []
    for wrong in (
        {"name": "a"},
        {"name": "a", "data": "x.csv", "varient": "vae"},
        {"name": "a", "data": "x.csv", "variant": "vea"},
        {"name": "a", "data": "x.csv", "variant": {"name": "vae", "level": 1}},
        {"name": "a", "data": "x.csv", "training": {"epochs": 0}},
    ):
        assert list(validator.iter_errors(wrong)), wrong


def test_old_spellings_of_job_files_are_still_read() -> None:
    spec = check_job(
        {
            "name": "old",
            "data": {"path": "a.npy", "second": "b.npy"},
            "variant": "noise2noise",
            "training": {"record_steps": False, "local_steps": 1},
        }
    )
    assert spec.data.paired_path == "b.npy"
    assert spec.training.cuda_graphs is False


@pytest.mark.parametrize(
    ("field", "former", "name", "values"),
    [
        ("data", "second", "paired_path", ("b.npy", "c.npy")),
        ("training", "record_steps", "cuda_graphs", (True, False)),
    ],
    ids=["data.second", "training.record_steps"],
)
def test_a_field_that_is_set_takes_the_place_of_its_former_name(
    tmp_path: Path, field: str, former: str, name: str, values: tuple[object, object]
) -> None:
    path = tmp_path / "job.yaml"
    content: dict[str, Any] = {"name": "old", "data": {"path": "a.npy"}}
    content["variant"] = "noise2noise" if field == "data" else "plain"
    new = json.dumps(values[1])
    for written, given in ((former, name), (name, former)):
        job = {**content, field: {**content.get(field, {}), written: values[0]}}
        path.write_text(yaml.safe_dump(job), encoding="utf-8")
        spec = load_job_file(path, [f"{field}.{given}={new}"])
        assert getattr(getattr(spec, field), name) == values[1]
    both = {**content.get(field, {}), former: values[0], name: values[1]}
    (line,) = faults(tmp_path, yaml.safe_dump({**content, field: both}))
    assert f"{former} is now {name}; leave {former} out" in line


@pytest.mark.parametrize(
    ("training", "where", "message"),
    [
        ({"trainer": {"profiler": "nonsense"}}, "training.trainer.profiler", "'simple'"),
        ({"trainer": {"max_time": "soon"}}, "training.trainer.max_time", "DD:HH:MM:SS"),
        ({"trainer": {"max_time": {"hour": 1}}}, "training.trainer.max_time", "'hour'"),
        ({"trainer": {"benchmark": "what"}}, "training.trainer.benchmark", "true or false"),
        ({"trainer": {"log_every_n_steps": "x"}}, "training.trainer.log_every_n_steps", "integer"),
        ({"local_steps": 8}, "training", "local_steps is now comm_hook: post_local_sgd"),
        ({"workers": {"min": 3, "max": 2}}, "training.workers", "min=3 is above max=2"),
        ({"workers": "many"}, "training.workers", "'many' is not allowed"),
        ({"trainer": {"max_epochs": 3}}, "training.trainer.max_epochs", "use training.epochs"),
        ({"trainer": {"max_steps": 3}}, "training.trainer.max_steps", "use training.epochs"),
        ({"trainer": {"limit_train_batches": 0.1}}, "training.trainer.limit_train_batches", "data"),
        ({"trainer": {"val_check_interval": 0.5}}, "training.trainer.val_check_interval", "loss"),
        (
            {"trainer": {"detect_anomly": True}},
            "training.trainer.detect_anomly",
            'did you mean "detect_anomaly"',
        ),
    ],
    ids=str,
)
def test_what_training_cannot_be_told_names_the_field_and_what_to_use(
    training: dict[str, object], where: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check_job({"name": "wrong", "data": "rows.npy", "training": training})
    (fault,) = caught.value.faults
    assert fault.where == where
    assert message in fault.message


def test_workers_may_be_a_range() -> None:
    training = check_job(
        {"name": "elastic", "data": "a.npy", "training": {"workers": {"min": 2, "max": 8}}}
    ).training
    assert (training.fewest_workers, training.most_workers) == (2, 8)
