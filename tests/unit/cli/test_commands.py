"""The command line: help with an example on each, one line for each failure."""

from __future__ import annotations

import json

import pytest

from isthmus import corruptions, nets, variants

COMMANDS = [
    *(
        "init",
        "train",
        "validate",
        "schema",
        "submit",
        "jobs",
        "logs",
        "cancel",
        "models",
        "promote",
    ),
    *("gate", "watch", "rollback", "history", "lineage", "tune"),
    *("denoise", "detect", "report", "ui", "doctor", "variants", "nets"),
]
NESTED = [("schedule", each) for each in ("serve", "run", "list")] + [
    ("head", each) for each in ("start", "stop")
]
NESTED += [("stack", each) for each in ("up", "status", "logs", "down", "env")]


@pytest.mark.parametrize(
    "words", [(each,) for each in COMMANDS] + NESTED, ids=lambda words: " ".join(words)
)
def test_every_command_helps_with_an_example(here, isthmus, words):
    helped = isthmus(*words, "--help")
    assert helped.code == 0
    assert f"Example: isthmus {' '.join(words)}" in " ".join(helped.out.split())


def test_the_version_is_told(here, isthmus):
    assert isthmus("--version").out.startswith("isthmus ")


def test_the_schema_is_json_that_an_editor_reads(here, isthmus):
    schema = json.loads(isthmus("schema").out)
    assert schema["title"] == "Isthmus training job"


def test_a_right_job_file_is_said_to_be_right(here, isthmus):
    (here / "job.yaml").write_text("name: a\ndata: sklearn:digits\n")
    done = isthmus("validate", "job.yaml")
    assert (done.code, done.err) == (0, "")
    assert "job.yaml is right" in done.out
    assert "1797 rows of shape (1, 8, 8)" in done.out
    assert "net conv" in done.out


def test_a_job_file_can_be_checked_without_its_data(here, isthmus):
    (here / "job.yaml").write_text("name: a\ndata: elsewhere.csv\n")
    assert isthmus("validate", "job.yaml", "--no-data").code == 0
    done = isthmus("validate", "job.yaml")
    assert (done.code, done.out) == (3, "")
    assert "elsewhere.csv" in done.err


@pytest.mark.parametrize("what", ["variants", "nets", "corruptions"])
def test_what_a_job_can_choose_from_is_listed_a_line_each(here, isthmus, what):
    listed = isthmus(what)
    assert listed.code == 0
    room = {"variants": variants, "nets": nets, "corruptions": corruptions}[what]
    lines = listed.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(room.names())


def test_one_variant_is_shown_with_its_paper_and_options(here, isthmus):
    shown = isthmus("variants", "vae")
    assert "arXiv:1312.6114" in shown.out
    assert "beta" in shown.out


FAILURES = {
    "no model yet": (["denoise", "--model", "digits", "a.npy", "b.npy"], 2, "no models in"),
    "no such scores": (["report", "a.csv"], 3, "a.csv: there is no such file; name a file of"),
    "no page": (["report", "a.csv", "-o", "a.pdf"], 3, "a page can be written as .html"),
    "page over scores": (
        ["detect", "--model", "digits", "a.npy", "b.csv", "--report", "b.csv"],
        *(2, "b.csv is the output of the scores too"),
    ),
    "no such run": (["train", "--resume", "heron"], 2, 'no run "heron"'),
    "neither job nor run": (["train"], 2, "give a job file, or --resume RUN"),
    "no cluster": (["jobs"], 2, "no cluster is named"),
    "no cluster there": (["jobs", "--address", "http://127.0.0.1:1"], 1, "does not answer"),
    "no address": (["jobs", "--address", "localhost:8265"], 2, "http://HOST:8265"),
    "no schedules": (["schedule", "list"], 2, "no such file"),
    "no such variant": (["variants", "vea"], 2, 'did you mean "vae"?'),
    "an alias that is none": (["promote", "a", "1", "--alias", "v1"], 2, "cannot be an alias"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_told_with_what_to_do(here, isthmus, arguments, code, said):
    done = isthmus(*arguments)
    assert done.code == code, done
    assert said in " ".join((done.err).split())


@pytest.mark.parametrize(
    "words", [("promote", "digits", "one"), ("stack", "logs", "mlflow", "-n", "-3")], ids=" ".join
)
def test_a_number_that_is_none_is_named(here, isthmus, words):
    done = isthmus(*words)
    assert done.code == 2
    assert f'"{words[-1]}" is no whole number above 0' in done.err


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "postgresql://u:secret@127.0.0.1:1/mlflow", "ftp://x"]
)
def test_a_store_that_does_not_answer_is_one_line_without_its_password(
    here, isthmus, monkeypatch, uri
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = isthmus("models")
    assert done.code == 1
    assert len(done.err.strip().splitlines()) == 1
    assert "MLFLOW_TRACKING_URI" in done.err
    assert "secret" not in done.err


def test_the_doctor_says_what_to_fix(here, isthmus, monkeypatch):
    assert isthmus("doctor").code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    sick = isthmus("doctor")
    assert sick.code == 1
    assert "does not answer" in sick.out
