"""`detect --explain --report` and `report`, as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from isthmus.spec import Settings
from tests.pages import Page
from tests.strange import Strange, table


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Strange:
    """A pair in a registry of its own, with an input whose strange rows are known."""
    folder = tmp_path_factory.mktemp("machine")
    return table(folder, Settings.from_environment({}, folder))


@pytest.fixture
def machine(here: Path, trained: Strange, monkeypatch: pytest.MonkeyPatch) -> Strange:
    """The pair, whose registry commands find, with its input copied into this folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(trained.settings.home))
    shutil.copy(trained.source, "new.csv")
    return trained


def test_detect_explains_and_makes_a_page_and_report_makes_it_again(here, isthmus, machine):
    done = isthmus(
        *("detect", "--model", machine.model, "new.csv", "scores.csv"),
        *("--explain", "--report", "page.html"),
    )
    assert done.code == 0, done
    assert done.err == ""
    first, second = done.out.splitlines()
    assert first.endswith(": scores.csv")
    assert second == f"{first.split()[0]} anomalies in 300 rows: page.html"
    assert {"feature_1", "value_1", "reconstruction_1", "usual_1"} <= set(pd.read_csv("scores.csv"))
    again = isthmus("report", "scores.csv")
    assert again.out.endswith("rows: scores.html\n")
    assert Page(Path("scores.html")).articles == Page(Path("page.html")).articles
    refused = isthmus("report", "scores.csv")
    assert (refused.code, refused.out) == (2, "")
    assert "scores.html exists already; choose another with -o, or add --force" in refused.err
    assert isthmus("report", "scores.csv", "--force").code == 0


def test_what_a_page_lacks_is_told_beside_it(here, isthmus, machine):
    assert isthmus("detect", "--model", machine.model, "new.csv", "scores.csv").code == 0
    Path("new.csv").unlink()
    done = isthmus("report", "scores.csv", "-o", "page.html")
    assert done.code == 0
    assert "made of the scores alone: new.csv: no such file" in done.err
    assert Path("page.html").exists()


def test_an_existing_page_is_refused_before_the_work(here, isthmus, machine):
    Path("page.html").write_text("mine")
    done = isthmus(
        *("detect", "--model", machine.model, "new.csv", "scores.csv", "--report", "page.html")
    )
    assert done.code == 2
    assert "page.html exists already" in done.err
    assert not Path("scores.csv").exists()
    assert Path("page.html").read_text() == "mine"


def test_drift_is_a_warning_of_detect(here, isthmus, machine):
    new = pd.read_csv("new.csv")
    new["flow"] += 2
    new.to_csv("new.csv", index=False)
    done = isthmus("detect", "--model", machine.model, "new.csv", "scores.csv")
    assert done.code == 0
    (line,) = [each for each in done.err.splitlines() if "drifted" in each]
    assert 'new.csv: has drifted from the training rows, most in "flow"' in line
    assert "the promised false-alarm rate does not hold under drift" in line
