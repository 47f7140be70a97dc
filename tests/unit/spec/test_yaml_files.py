"""Every YAML file of ours is read in a moment, means what people mean, and is refused in a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.errors import SpecError
from isthmus.jobs.specs import load_job_file
from isthmus.promotion.subscriptions import read_subscriptions
from isthmus.spec.yaml_file import in_yaml, parse_value
from isthmus_pipelines.schedules import read_schedules

READERS: dict[str, Callable[[Path], object]] = {
    "job": load_job_file,
    "schedules": read_schedules,
    "subscriptions": read_subscriptions,
}


def nested_aliases(item: str) -> str:
    """Nine times nine, nine levels deep: 400 million values in half a kilobyte."""
    lines = [f"a0: &a0 {item.format(', '.join('x' * 9)) if '[' in item else '{x: 1}'}"]
    lines += [
        f"a{level}: &a{level} {item.format(', '.join([f'*a{level - 1}'] * 9))}"
        for level in range(1, 9)
    ]
    return "\n".join([*lines, "name: a", "data: *a8", ""])


BOMBS = {
    "nested aliases": (nested_aliases("[{}]"), "holds more than 50,000 values, with its aliases"),
    "nested merges": (nested_aliases("{{<<: [{}]}}"), "holds more than 50,000 values"),
    "a list that holds itself": ("name: a\ndata: &x [*x]\n", "*x stands within &x itself"),
    "a hundred thousand brackets": ("data: " + "[" * 100_000, "nested more than 50 levels deep"),
    "mappings in mappings": ("data: " + "{a: " * 999 + "}" * 999, "more than 50 levels deep"),
    "aliases in a chain": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 999)),
        "nested more than 50 levels deep",
    ),
    "a long file": ("data: " + "x" * 2**21, "is longer than 1 MiB"),
    "many values": ("data: [" + "a," * 60_000 + "]", "holds more than 50,000 values"),
    "a long number": ("data: " + "9" * 5000, "too long a number"),
    "a tag that does not fit": ("name: !!float ''\n", "does not fit its tag"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS.keys())
def test_a_file_that_would_exhaust_the_machine_is_refused_in_a_line(tmp_path, read, text, said):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    began_s = time.process_time()
    with pytest.raises(SpecError) as refused:
        read(path)
    assert time.process_time() - began_s < 5  # about 0.1 s
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_values_of_the_command_line_are_held_to_the_same_size():
    with pytest.raises(SpecError, match="nested more than 50 levels deep"):
        parse_value("[" * 5000)


def test_aliases_and_merges_of_a_usual_size_are_read(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "name: a\ndata: {path: x.csv, columns: &all [b, c]}\n"
        "tuning: {search: {latent_dim: {choice: [2, 4]}}}\nvariant: &v {name: vae}\n"
        "training: {<<: {epochs: 3}, seed: 1}\n"
    )
    spec = load_job_file(path)
    assert (spec.training.epochs, spec.training.seed) == (3, 1)


UNQUOTED = {
    "labels to keep": ("labels: k, keep_labels: [No]", "data.keep_labels.0: false is not text"),
    "labels to keep, true": ("labels: k, keep_labels: [1, on]", "keep_labels.1: true is not text"),
    "no label": ("labels: k, keep_labels: [~]", "keep_labels.0: null is not text"),
    "a column of labels": ("labels: off", "data.labels: false is not text"),
    "columns": ("columns: [a, yes]", "data.columns.1: true is not text"),
    "a column that is a number": ("exclude: [7]", "data.exclude.0: 7 is a number"),
    "a category": ("categories: {size: [S, No]}", "data.categories.size.1: false is not text"),
    "an array": ("key: on", "data.key: true is not text"),
}


@pytest.mark.parametrize(("data", "said"), UNQUOTED.values(), ids=UNQUOTED.keys())
def test_a_word_that_yaml_reads_as_something_else_is_to_be_put_in_quotes(tmp_path, data, said):
    path = tmp_path / "job.yaml"
    path.write_text(f"name: a\ndata: {{path: x.csv, {data}}}\n")
    with pytest.raises(SpecError) as refused:
        load_job_file(path)
    assert len(str(refused.value).splitlines()) == 1
    assert said in str(refused.value)
    assert "put it in quotes" in str(refused.value)


def test_labels_that_yaml_1_1_would_change_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        'name: a\ndata: {path: x.csv, labels: k, keep_labels: ["No", 2026-01-31, 010, 12:30, 7], '
        "categories: {on: [a, b], 1: [c]}}\n"
    )
    data = load_job_file(path).data
    assert data.keep_labels == ("No", "2026-01-31", "010", "12:30", 7)
    assert dict(data.categories) == {"on": ("a", "b"), "1": ("c",)}


WORDS = {
    "a list": ("data: {path: x.csv, columns: abc}", "'abc' is not allowed; use a list"),
    "a mapping": ("data: x.csv\ntraining: [1]", "[1] is not allowed; use a mapping"),
    "true or false": (
        "data: x.csv\ntraining: {cuda_graphs: maybe}",
        "'maybe' is not allowed; use true or false",
    ),
    "a number": (
        "data: x.csv\ntraining: {learning_rate: fast}",
        "'fast' is not allowed; use a valid number",
    ),
    "text": ("data: {path: x.csv, key: [1]}", "[1] is not allowed; use text"),
}


@pytest.mark.parametrize(("fields", "said"), WORDS.values(), ids=WORDS.keys())
def test_what_a_field_needs_is_said_in_the_words_of_yaml(tmp_path, fields, said):
    path = tmp_path / "job.yaml"
    path.write_text(f"name: a\n{fields}\n")
    with pytest.raises(SpecError) as refused:
        load_job_file(path)
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    "value",
    ["=", "1e5", "on", "a: b", "010", "a#b", "- a", "[", "12:30", "é", "a\nb", "a,b", "~", 1, 1.5,
     ["a", 1, "2", "x: y"]],
    ids=str,
)  # fmt: skip
def test_what_is_written_for_a_person_to_paste_is_read_again_as_it_was(value):
    assert parse_value(in_yaml(value)) == value
    assert parse_value(f"[{in_yaml(value)}]") == [value]
