"""Pairs whose code is stored with them, where nobody looks: the gate and the watcher ask first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from isthmus import promotion
from isthmus.aliases import champion_of, promote
from isthmus.errors import PromotionRefused
from isthmus.plugins import files
from isthmus.promotion.watch import Watcher
from isthmus.registry import annotation
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.challengers import register
from tests.own_plugins import example

pytestmark = pytest.mark.slow
NAME = "own"
REFUSAL = f'{NAME}/2 needs the variant "swirl" of swirl.py, which is stored with the pair; read it'


@pytest.fixture(scope="module", autouse=True)
def versions(settings: Settings, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`own/1` needs no code; `own/2` needs that of a file, which is gone."""
    register(NAME, rows, settings)
    file = tmp_path_factory.mktemp("own") / "swirl.py"
    file.write_text(f"import colorsys\n{example('python')}", encoding="utf-8")
    register(NAME, rows, settings, plugins=[str(file)], variant="swirl")
    file.unlink()


@pytest.fixture
def without(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The registry as another machine sees it, in a process that has imported no file."""
    monkeypatch.setattr(files, "_table", files._Table())
    return settings.model_copy(update={"home": tmp_path})


@pytest.fixture
def consenting(without: Settings) -> Settings:
    return without.model_copy(update={"trust_plugins": True})


def clicked(settings: Settings) -> list[str]:
    """Clicks `own/2` beside the champion `own/1`, and returns what the watcher tells."""
    promote(NAME, 1, settings)
    lines: list[str] = []
    watcher = Watcher(settings, lines.append)
    watcher.look()
    open_store(settings).set_registered_model_alias(f"{NAME}-encoder", "champion", "2")
    watcher.look()
    return lines[1:]  # the first one says that it was clicked


def test_a_click_on_code_without_consent_is_put_back_with_the_reason_and_nothing_runs(without):
    judged, put_back = clicked(without)
    assert judged.startswith(f"{NAME}/2: cannot be judged; {REFUSAL}")
    assert "ISTHMUS_TRUST_PLUGINS=1" in judged
    assert "\n" not in judged
    assert put_back == f"{NAME}@champion is {NAME}/1 again"
    assert champion_of(NAME, without) == 1
    assert files._table.files == {}


def test_a_click_on_code_with_consent_is_judged_by_its_figures(consenting):
    lines = clicked(consenting)
    assert f"held-out rows against {NAME}/1" in lines[0]
    assert annotation(f"{NAME}/2", "isthmus.verdict", consenting) in lines[0]
    assert [file.name for file in files._table.files.values()] == ["swirl.py"]


def test_a_champion_whose_code_may_not_run_is_not_passed_over(without):
    promote(NAME, 2, without)
    with pytest.raises(PromotionRefused) as refused:
        promotion.promote(NAME, 1, without, must_be_better=True, source="schedule")
    assert REFUSAL in str(refused.value)
    assert champion_of(NAME, without) == 2
    assert files._table.files == {}


def test_a_champion_whose_code_lacks_a_package_here_is_not_passed_over(consenting, monkeypatch):
    monkeypatch.setitem(sys.modules, "colorsys", None)  # Python then finds no such module
    promote(NAME, 2, consenting)
    with pytest.raises(PromotionRefused, match=r"which fails here: .*colorsys"):
        promotion.promote(NAME, 1, consenting, must_be_better=True, source="schedule")
    assert champion_of(NAME, consenting) == 2


def test_a_champion_whose_code_may_run_is_compared_with(consenting):
    promote(NAME, 2, consenting)
    verdict = promotion.judge(NAME, 1, 2, consenting)
    assert verdict.champion == f"{NAME}/2"
    assert verdict.rows > 0
