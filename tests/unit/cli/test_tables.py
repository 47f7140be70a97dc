"""Every table reads at 80 columns: no line is longer, and no name is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from isthmus import aliases, corruptions, nets, scores, variants
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import out
from isthmus.cli.tune import SearchProgress
from isthmus.search import TrialRecord
from isthmus.types import DataKind

LONG = "a-pair-with-quite-a-long-name-of-a-team-2026"
WHY = "it was better on the rows of the second plant, and the people there wanted it at once"


def fits(text: str, width: int = 80) -> bool:
    return max(cell_len(line) for line in text.splitlines()) <= width


@pytest.fixture(scope="module")
def two_versions(register, settings) -> str:
    for seed in (0, 1):
        register(LONG, seed)
    for version in (1, 2):
        aliases.promote(LONG, version, settings, "champion", why=WHY)
        aliases.promote(LONG, version, settings, "shadow-of-the-second-plant", why=WHY)
    return LONG


@pytest.fixture
def narrow(settings, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    # The stream measures the terminal once in a process.
    out.__dict__.pop("console", None)
    yield
    out.__dict__.pop("console", None)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("words", [["models"], ["models", LONG], ["history", LONG],
                                   ["lineage", f"{LONG}/1"]], ids=" ".join)  # fmt: skip
def test_what_is_registered_is_shown_at_80_columns_with_every_name(two_versions, isthmus, words):
    done = isthmus(*words)
    assert done.code == 0, done.err
    assert fits(done.out), done.out
    shown = " ".join(done.out.split())
    if words[0] == "history":
        assert WHY in shown
        assert "shadow-of-the-second-plant" in shown
    else:
        assert f"{LONG}/1" in shown
    if words[0] == "models":
        assert f"{LONG}/2 champion, shadow-of-the-second-plant" in shown
        assert "variant plain, net dense, latent 2, " in shown


@pytest.mark.usefixtures("narrow", "here")
@pytest.mark.parametrize(
    ("what", "room", "one"),
    [
        ("variants", variants, "vqvae"),
        ("nets", nets, "conv"),
        ("scores", scores, "own"),
        ("corruptions", corruptions, "poisson_gaussian"),
    ],
)
def test_choices_are_shown_at_80_columns_with_every_name(isthmus, what, room, one):
    listed = isthmus(what).out
    assert fits(listed), listed
    for name in room.names():
        assert any(line.split()[0] == name for line in listed.splitlines()), name
    shown = isthmus(what, one).out
    assert fits(shown), shown


@pytest.mark.parametrize(("what", "room"), [("nets", nets), ("scores", scores)])
def test_auto_is_explained_by_what_it_chooses_for_each_kind_of_data(isthmus, what, room):
    shown = isthmus(what, "auto").out
    for kind in DataKind:
        assert room.for_kind(kind).name in shown


@pytest.mark.usefixtures("narrow")
def test_other_tables_are_shown_at_80_columns(isthmus):
    for words in (["doctor"], ["schedule", "list"], ["stack", "status"], ["init", "--list"]):
        shown = isthmus(*words).out
        if words != ["init", "--list"]:  # its lines are paths to copy
            assert fits(shown), shown


def test_the_table_of_a_search_is_shown_at_80_columns():
    progress = SearchProgress()
    values = {"training.learning_rate": 0.00123456789, "net.hidden": [128, 64], "latent_dim": 12}
    progress.on_trial(TrialRecord(1, values, "finished", 10, 10, 0.5, 0.25))
    progress.on_trial(TrialRecord(2, values, "failed", reason="the loss is no number any more"))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(progress.table())
    text = shown.get()
    assert fits(text)
    assert "…" not in text
    assert text.splitlines()[0].split()[:3] == ["trial", "state", "value"]


def test_a_table_that_fits_is_a_line_for_each_row(monkeypatch, capsys):
    rows = Rows(("verdict", "check", ""), lead=2)
    rows.add("refused", "size", "12 bytes", verdict="red")
    rows.show()
    assert capsys.readouterr().out.splitlines()[1].split() == ["refused", "size", "12", "bytes"]


@pytest.mark.usefixtures("narrow")
def test_a_row_that_does_not_fit_begins_with_its_lead_and_wide_signs_count_twice(capsys):
    rows = Rows(("pair", "aliases", "metric"), lead=2)
    rows.add("数" * 45, "champion", "0.5")
    rows.show()
    shown = capsys.readouterr().out
    assert fits(shown)
    assert shown.replace("\n", "").replace(" ", "") == "数" * 45 + "championmetric0.5"


JSON = {
    "models": (["models", LONG], lambda found: found[0]["metrics"]["test/pca_mse"] == 0.6),
    "history": (["history", LONG], lambda found: found[0]["to_version"] == 1),
    "lineage": (["lineage", f"{LONG}/1"], lambda found: found["loose"]["names"] == [f"{LONG}/1"]),
    "variants": (["variants"], lambda found: {"aae", "vae"} <= {each["name"] for each in found}),
    "one net": (["nets", "conv"], lambda found: found["kinds"] == ["images"]),
    "doctor": (["doctor"], lambda found: {each["verdict"] for each in found} <= {"ok", "warn"}),
}


@pytest.mark.usefixtures("narrow", "two_versions")
@pytest.mark.parametrize(("words", "holds"), JSON.values(), ids=JSON.keys())
def test_figures_are_printed_for_programs_too(isthmus, words, holds):
    done = isthmus(*words, "--json")
    assert done.code == 0, done.err
    assert holds(json.loads(done.out)), done.out


def test_what_is_validated_is_printed_for_programs_too(here, isthmus):
    (here / "job.yaml").write_text("name: a\ndata: sklearn:digits\n")
    found = json.loads(isthmus("validate", "job.yaml", "--json").out)
    assert (found["net"], found["row_shape"], found["latent_dim"]) == ("conv", [1, 8, 8], 16)
    assert sum(found["rows"].values()) == 1797


def test_a_number_that_is_none_is_null_for_programs(capsys):
    from isthmus.cli.json_output import print_json

    print_json({"loss": float("nan"), "at": datetime(2026, 1, 1, tzinfo=UTC)})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("job", "code"),
    [("name: a\ndata: x.csv\nvariant: vea\n", 2), ("name: a\ndata: x.csv\n", 3)],
    ids=["a wrong job file", "wrong data"],
)
def test_the_exit_code_tells_a_wrong_job_from_wrong_data(here, isthmus, job, code):
    (here / "job.yaml").write_text(job)
    (here / "x.csv").write_text("a,b\n1,red\n2,green\n")
    assert isthmus("validate", "job.yaml").code == code


def test_help_says_what_the_exit_codes_mean(here, isthmus):
    shown = " ".join(isthmus("--help").out.split())
    assert "2 the command, a job file or a name is wrong; 3 the data are wrong" in shown
