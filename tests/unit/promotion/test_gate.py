"""Versions are judged, promoted or refused, with the figures told where people look for them."""

from __future__ import annotations

import json
import re

import pytest

from isthmus import promotion
from isthmus.aliases import champion_of, demote, history
from isthmus.aliases import promote as set_alias
from isthmus.cli.terminal import out
from isthmus.errors import ModelNotFound, PromotionRefused, RegistryError, UsageError
from isthmus.registry import annotation, is_let_by_gate, load
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.challengers import BAD_STEPS, GOOD_STEPS, register, write_rows


def failed(verdict):
    return {check.name for check in verdict.checks if not check.is_passed}


def test_versions_are_judged_against_the_champion_and_pca(versions, settings):
    first = promotion.judge("m", 1, None, settings)
    assert (first.outcome, first.champion) == ("passed", None)
    equal = promotion.judge("m", 2, 1, settings)
    assert equal.outcome == "passed"
    better = promotion.judge("m", 1, 3, settings, must_be_better=True)
    assert better.outcome == "passed"
    # That it is better is not shown, and neither is that it is worse.
    assert promotion.judge("m", 2, 1, settings, must_be_better=True).outcome == "undecided"
    worse = promotion.judge("m", 3, 1, settings)
    assert {"reconstruction error", "error beside PCA at 2"} <= failed(worse)
    assert "95 % interval" in worse.reason
    assert "AUROC" in {check.name for check in worse.checks}
    assert not worse.may_be_champion
    assert promotion.judge("m", 4, 1, settings).may_be_champion  # its job only wants a warning


def test_a_refusal_is_told_on_the_version_and_can_be_overridden(versions, settings):
    promotion.promote("m", 1, settings)
    with pytest.raises(PromotionRefused, match="reconstruction error") as refused:
        promotion.promote("m", 3, settings)
    assert len(str(refused.value).splitlines()) == 1
    assert champion_of("m", settings) == 1
    for half in ("encoder", "decoder"):
        version = open_store(settings).get_model_version(f"m-{half}", "3")
        assert version.tags["isthmus.verdict"] == "refused"
        assert "| reconstruction error |" in version.description
        numbers = json.loads(version.tags["isthmus.gate"])["reconstruction_error"]
        assert (numbers["verdict"], numbers["bound"]) == ("refused", 0.02)
        assert numbers["bound"] < numbers["low"] < numbers["high"]
    with pytest.raises(UsageError, match="--why"):
        promotion.promote("m", 3, settings, force=True)
    promotion.promote("m", 3, settings, force=True, why="a drill")
    assert champion_of("m", settings) == 3
    assert history("m", settings)[-1].why == "a drill; the gate: refused"
    demote("m", settings, "champion")


def test_other_aliases_need_no_gate(versions, settings):
    assert promotion.promote("m", 3, settings, "candidate").verdict is None
    with pytest.raises(ModelNotFound, match="no version 9"):
        promotion.promote("m", 9, settings)


def test_rows_that_may_not_be_stored_are_read_again_and_a_changed_file_is_told(settings, tmp_path):
    file = write_rows(tmp_path / "rows.csv")
    register("gone", file, settings, steps=1, data={"keep_held_out": False})
    assert load("gone/1", settings).manifest.held_out is None
    assert promotion.judge("gone", 1, None, settings).outcome == "refused"
    write_rows(file, seed=1)
    changed = promotion.judge("gone", 1, None, settings)
    assert changed.outcome == "cannot be judged"
    assert "has changed since gone/1 was trained" in changed.obstacle
    file.unlink()
    with pytest.raises(PromotionRefused, match="cannot be judged"):
        promotion.promote("gone", 1, settings)
    assert annotation("gone/1", "isthmus.verdict", settings) == "cannot be judged"
    promotion.promote("gone", 1, settings, force=True, why="the file is on another machine")
    assert champion_of("gone", settings) == 1


def test_a_handful_of_held_out_rows_decides_nothing(settings, tmp_path):
    register("few", write_rows(tmp_path / "rows.csv", rows=60), settings, steps=1)
    few = promotion.judge("few", 1, None, settings)
    assert few.outcome == "cannot be judged"
    assert re.match("only [0-9] held-out rows", few.obstacle)


def test_damage_refuses_a_challenger_but_protects_no_champion_and_a_registry_away_is_an_error(
    versions, settings
):
    from isthmus.errors import RegistryError
    from isthmus.registry import resolve

    weights = next(resolve("m/2", settings).folder.glob("decoder*.safetensors"))
    kept = weights.read_bytes()
    try:
        weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert promotion.judge("m", 2, 1, settings).outcome == "cannot be judged"
        replacing = promotion.judge("m", 1, 2, settings)
        assert (replacing.outcome, replacing.champion) == ("passed", None)
        assert "the champion counts as none, for it cannot be loaded" in replacing.reason
    finally:
        weights.write_bytes(kept)
    away = settings.model_copy(update={"tracking_uri": "http://127.0.0.1:1"})
    with pytest.raises(RegistryError, match="does not answer"):
        promotion.judge("m", 2, 1, away)


def test_what_few_rows_cannot_tell_is_promoted_only_by_a_person_who_says_so(settings, tmp_path):
    rows = write_rows(tmp_path / "rows.csv", rows=400)
    register("small", rows, settings)
    with pytest.raises(PromotionRefused, match="promote it with --undecided") as refused:
        promotion.promote("small", 1, settings, source="schedule")
    assert len(str(refused.value).splitlines()) == 1
    assert champion_of("small", settings) is None
    assert not is_let_by_gate("small/1", settings)
    done = promotion.promote("small", 1, settings, undecided=True)
    assert done.verdict.outcome == "undecided"
    assert history("small", settings)[-1].why == "the gate: undecided"
    assert is_let_by_gate("small/1", settings)
    described = open_store(settings).get_model_version("small-encoder", "1").description
    assert "A person made it champion, for so few rows cannot tell" in described
    # What is shown to be worse is not undecided, whoever asks.
    register("small", rows, settings, steps=2)
    with pytest.raises(PromotionRefused, match="--force --why"):
        promotion.promote("small", 2, settings, undecided=True)


def test_a_champion_that_the_gate_has_not_let_is_not_loaded_where_that_is_asked_for(settings, rows):
    for steps in (GOOD_STEPS, BAD_STEPS):
        register("clicked", rows, settings, steps)
    strict = settings.model_copy(update={"require_gate": True})
    promotion.promote("clicked", 1, settings)
    assert load("clicked", strict).reference == "clicked/1"
    set_alias("clicked", 2, settings)  # as by a click
    assert load("clicked", settings).reference == "clicked/2"
    for reference in ("clicked", "clicked@champion"):
        with pytest.raises(RegistryError, match=r"clicked/2, which .*isthmus promote clicked 2"):
            load(reference, strict)
    assert load("clicked/2", strict).reference == "clicked/2"  # by number, not as champion
    with pytest.raises(PromotionRefused):
        promotion.promote("clicked", 2, settings)
    with pytest.raises(RegistryError, match=r"has not let \(refused\)"):
        load("clicked", strict)
    promotion.promote("clicked", 2, settings, force=True, why="a drill")
    assert load("clicked", strict).reference == "clicked/2"


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("0", False), ("", False)])
def test_the_environment_asks_for_the_gate(tmp_path, value, is_on):
    assert (
        Settings.from_environment({"ISTHMUS_REQUIRE_GATE": value}, tmp_path).require_gate == is_on
    )
    with pytest.raises(UsageError, match="neither 0 nor 1"):
        Settings.from_environment({"ISTHMUS_REQUIRE_GATE": "yes"}, tmp_path)


def test_the_numbers_of_the_gate_are_printed_for_programs(versions, settings, isthmus, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    promotion.promote("m", 1, settings)
    done = isthmus("gate", "m/3", "--json")
    said = json.loads(done.out)
    assert (done.code, said["outcome"], said["champion"]) == (1, "refused", "m/1")
    by_name = {check["check"]: check for check in said["checks"]}
    error = by_name["reconstruction_error"]
    assert error["value"] / error["beside"] - 1 == pytest.approx(error["change"], rel=1e-3)
    assert error["low"] < error["change"] < error["high"]
    shown = isthmus("gate", "m/3").out
    assert "% (95 % interval +" in shown
    assert "at most 2 % higher" in shown
    assert shown.startswith("refused: m/3 against m/1, on ")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delitem(out.__dict__, "console")  # which measures the terminal once
    narrow = isthmus("gate", "m/3").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert "refused  reconstruction error\n" in narrow
    assert {check["name"] for check in said["checks"]} <= {
        line.partition("  ")[2] for line in narrow.splitlines() if not line.startswith(" ")
    }
    demote("m", settings, "champion")
