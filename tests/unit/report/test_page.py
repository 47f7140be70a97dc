"""`isthmus report` makes one page that tells what was found, why, and whether it holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus.data import rows
from isthmus.errors import DataError
from isthmus.jobs.report import page_beside, report
from isthmus.report import summary
from tests.pages import Page
from tests.strange import ODD_ROWS, ODD_TABLE_ROWS, table_rows
from tests.using import detect, detect_with


def page_of(found, scores: str = "scores.csv", *, source: str | None = None, **options) -> Page:
    detect(found.model, source or found.source, scores, found.settings, **options)
    report(scores, "page.html", found.settings)
    return Page(Path("page.html"))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".feather", ".npz"])
def test_the_page_of_a_table_tells_the_pair_the_numbers_and_the_strangest_rows(
    here, strange, ending
):
    found = strange("tabular")
    page = page_of(found, f"scores{ending}")
    expected = found.pair.detect(_values(found), as_read=True)
    order = np.argsort(-expected.scores)
    assert found.source in page.text
    assert f"Scored by {found.model} (pair {found.pair.manifest.pair_id}, plain over" in page.text
    assert f"rows 300 anomalies {int(expected.anomalies.sum())} share" in page.text
    assert [article.split()[1] for article in page.articles] == [str(row) for row in order[:12]]
    first = page.articles[0]
    assert f"score {expected.scores[order[0]]:.4g}" in first
    assert "product" in first
    assert "training rows" not in page.text  # nothing has drifted
    assert page.outside() == []


def _values(found):
    from isthmus.data import collect, open_input

    pair = found.pair
    return collect(open_input(pair.manifest.data, found.source, pair.manifest.rows_taken)).values


def test_labels_of_the_input_give_roc_and_precision_with_sklearns_figures(here, strange):
    page = page_of(strange("tabular"))
    truth = np.isin(np.arange(300), list(ODD_TABLE_ROWS))
    scores = pd.read_csv("scores.csv")["score"]
    assert f"AUROC {roc_auc_score(truth, scores):.3f} over 300 rows, 30 of them" in page.text
    assert f"average precision {average_precision_score(truth, scores):.3f}" in page.text
    assert len(page.all("svg", kind="chart")) == 4
    # Without labels, there is neither.
    pd.read_csv(strange("tabular").source).drop(columns="label").to_csv("plain.csv", index=False)
    bare = page_of(strange("tabular"), source="plain.csv")
    assert "AUROC" not in bare.text
    assert len(bare.all("svg", kind="chart")) == 2


def test_the_histogram_has_every_row_and_the_threshold(here, strange):
    page = page_of(strange("tabular"))
    scores = pd.read_csv("scores.csv")
    assert f"threshold {strange('tabular').pair.threshold:.4g}" in page.text
    bars = [*page.all("rect", kind="normal"), *page.all("rect", kind="anomaly")]
    assert 5 < len(bars) <= 44
    assert page.all("rect", kind="anomaly")
    assert scores["anomaly"].any()


def test_drift_of_the_input_is_told_with_the_features_and_the_latents(here, strange, caplog):
    drifted = table_rows(600, 5)
    drifted["pressure"] += 1.5
    drifted.to_csv("drifted.csv", index=False)
    page = page_of(strange("tabular"), source="drifted.csv")
    assert "The input has drifted." in page.text
    section = page.sections["Drift of the input"]
    assert "of 9 features have drifted." in section
    assert "permutation p 0.00" in section
    assert section.index("pressure") < section.index("flow")
    assert 'drifted.csv: has drifted from the training rows, most in "pressure"' in caplog.text
    same = page_of(strange("tabular"))
    assert "No feature has drifted far." in same.sections["Drift of the input"]


def test_images_are_shown_with_their_reconstruction_and_the_error(here, strange):
    page = page_of(strange("images"))
    pictures = page.all("img")
    assert len(pictures) == 36
    assert {picture["alt"] for picture in pictures[:6]} == {
        f"{what} of row {row}" for what in ("input", "reconstruction", "error") for row in ODD_ROWS
    }
    assert "brightness" in page.sections["Drift of the input"]
    assert page.outside() == []


def test_series_with_scores_of_steps_are_shown_around_their_strangest_steps(here, strange):
    found = strange("series")
    page = page_of(found)
    scores = pd.read_csv("scores.csv")
    assert len(scores) == 2000
    assert f"steps 2,000 anomalies {int(scores['anomaly'].sum()):,}" in page.text
    peak = int(scores["score"].idxmax())
    assert 1000 <= peak <= 1011
    assert page.articles[0].startswith(f"step {peak} anomaly")
    step = int(page.articles[0].split("load step ")[1].split()[0])
    assert 1000 <= step <= 1011
    steps = [int(each.split()[1]) for each in page.articles]
    assert np.diff(sorted(steps)).min() >= 32  # a window apart: not twelve times the same place
    assert len(page.all("svg", kind="chart")) == 2 + 2 * 12
    assert "mean of load" in page.sections["Drift of the input"]
    # The scores alone, too, show different places.
    shutil.copy("scores.csv.pair.json", "kept.json")
    note = json.loads(Path("kept.json").read_text())
    note["model"] = "sensor/77"
    Path("scores.csv.pair.json").write_text(json.dumps(note))
    report("scores.csv", "page.html", found.settings)
    alone = [int(each.split()[1]) for each in Page(Path("page.html")).articles]
    assert np.diff(sorted(alone)).min() >= 32


def test_steps_of_a_series_that_has_grown_are_told(here, strange):
    found = strange("series")
    shutil.copy(found.source, "new.csv")
    detect(found.model, "new.csv", "scores.csv", found.settings)
    with Path("new.csv").open("a") as file:
        file.write("0,0\n")
    (lack,) = report("scores.csv", "page.html", found.settings).lacks
    assert "new.csv: has other rows than those that were scored" in lack


def test_rows_that_were_set_aside_are_left_out_of_the_page(here, strange):
    found = strange("tabular")
    lines = Path(found.source).read_text().splitlines()
    lines[50] = lines[50].replace(lines[50].split(",")[1], "broken")
    Path("new.csv").write_text("\n".join(lines) + "\n")
    detect(found.model, "new.csv", "scores.csv", found.settings)
    result = report("scores.csv", "page.html", found.settings)
    assert (result.rows, result.lacks) == (299, ())


def test_windows_of_series_are_shown_as_curves_with_the_step_that_is_strange(here, strange):
    page = page_of(strange("series"), per="window")
    steps = [int(each.split("load step ")[1].split()[0]) for each in page.articles[:2]]
    assert all(1000 <= step <= 1011 for step in steps)
    assert len(page.all("svg", kind="chart")) == 2 + 2 * 12
    assert page.all("rect", kind="heat")
    assert page.outside() == []


def test_sounds_are_shown_as_curves_and_over_time_and_frequency(here, strange):
    page = page_of(strange("audio"))
    assert page.articles[0].startswith("1.wav, 1.4")
    assert "error over time and frequency, 0 to 4,000 Hz" in page.articles[0]
    assert len(page.all("img")) == 12
    assert page.outside() == []


def test_what_comes_from_files_cannot_break_the_page(here, strange):
    found = strange("tabular")
    pair = found.pair
    evil = '<script>alert("x")</script>&"\''

    def renamed(names):
        return tuple(evil if name == "product" else name for name in names)

    manifest = pair.manifest
    data = manifest.data.model_copy(update={"columns": renamed(manifest.data.columns)})
    features = renamed(manifest.rows_taken.features)
    schema = manifest.rows_taken.model_copy(update={"features": features})
    pair.manifest = pair.manifest.model_copy(update={"data": data, "row_schema": schema})
    table = pd.read_csv(found.source).rename(columns={"product": evil})
    table.to_csv("<b>&.csv", index=False)
    detect_with(pair, "<b>&.csv", "scores.csv", explain=True)
    from isthmus.report import gather, open_scores, write_page

    file = open_scores(Path("scores.csv"))
    for each, page in ((pair, "whole.html"), (None, "alone.html")):
        write_page(gather(file, each, found.held_out if each else None), Path(page))
        parsed = Page(Path(page))
        assert parsed.outside() == []
        assert "<b>&.csv" in parsed.text
        assert evil in parsed.text


def test_a_page_of_many_rows_holds_a_sample_of_them_and_says_so(here, strange, monkeypatch):
    monkeypatch.setattr(summary, "_MOST_SAMPLED", 100)
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", 300)
    page = page_of(strange("tabular"))
    assert "rows 300" in page.text
    assert "Drawn from 100 rows" in page.text
    assert "over 100 rows" in page.text
    order = pd.read_csv("scores.csv")["score"].sort_values(ascending=False).index
    assert [article.split()[1] for article in page.articles] == [str(row) for row in order[:12]]


# -- what is not there any more -------------------------------------------------------------------


def test_without_the_input_the_page_is_made_of_the_scores_and_says_so(here, strange):
    found = strange("tabular")
    shutil.copy(found.source, "gone.csv")
    detect(found.model, "gone.csv", "scores.csv", found.settings, explain=True)
    Path("gone.csv").unlink()
    result = report("scores.csv", "page.html", found.settings)
    page = Page(Path("page.html"))
    assert (result.rows, len(page.articles)) == (300, 12)
    (lack,) = result.lacks
    assert "The input cannot be read any more" in lack
    assert "gone.csv: no such file" in lack
    assert lack in page.text
    assert "product" in page.articles[0]  # which --explain wrote beside the scores


@pytest.mark.parametrize("change", ["fewer", "more", "other order"])
def test_an_input_that_has_changed_is_not_taken_for_the_one_that_was_scored(here, strange, change):
    found = strange("images")
    images = np.load(found.source)
    np.save("new.npy", images)
    detect(found.model, "new.npy", "scores.csv", found.settings)
    if change == "other order":
        scores = pd.read_csv("scores.csv")
        scores["row"] = scores["row"].to_numpy()[::-1]
        scores.to_csv("scores.csv", index=False)
    np.save("new.npy", images[:200] if change == "fewer" else np.concatenate([images, images[:9]]))
    if change == "other order":
        np.save("new.npy", images)
    (lack,) = report("scores.csv", "page.html", found.settings).lacks
    assert "new.npy: has other rows than those that were scored" in lack


def test_a_relative_input_is_found_beside_the_scores(here, strange, monkeypatch):
    found = strange("tabular")
    (here / "data").mkdir()
    shutil.copy(found.source, "data/new.csv")
    monkeypatch.chdir(here / "data")
    detect(found.model, "new.csv", "scores.csv", found.settings)
    monkeypatch.chdir(here)
    assert report("data/scores.csv", "page.html", found.settings).lacks == ()


@pytest.mark.parametrize("pair", ["other", "gone"])
def test_without_the_pair_the_page_is_made_of_the_scores_and_says_so(here, strange, pair):
    found = strange("tabular")
    detect(found.model, found.source, "scores.csv", found.settings)
    note = Path("scores.csv.pair.json")
    said = json.loads(note.read_text())
    said["model"] = "machine/77" if pair == "gone" else strange("series").model
    note.write_text(json.dumps(said))
    (lack,) = report("scores.csv", "page.html", found.settings).lacks
    assert "made of the scores alone" in lack
    assert ("no version 77" if pair == "gone" else "is another pair now") in lack
    assert lack in Page(Path("page.html")).text


def test_without_held_out_rows_the_page_has_all_but_drift(here, strange):
    found = strange("tabular")
    detect(found.model, found.source, "scores.csv", found.settings)
    from isthmus.report import gather, open_scores

    content = gather(open_scores(Path("scores.csv")), found.pair, None)
    assert content.drift is None
    assert "no held-out rows stored" in content.notes[0]
    assert content.rates is not None
    assert content.cards[0].features


# -- bad input ------------------------------------------------------------------------------------


def own(scores: Path) -> None:
    """Scores of a csv that detect wrote."""


def empty(scores: Path) -> None:
    scores.write_text("")


def only_a_header(scores: Path) -> None:
    scores.write_text(scores.read_text().splitlines()[0] + "\n")


def without_a_pair(scores: Path) -> None:
    scores.with_name("scores.csv.pair.json").unlink()


def another_table(scores: Path) -> None:
    scores.write_text("a,b\n1,2\n")


def of_another_job(scores: Path) -> None:
    note = scores.with_name("scores.csv.pair.json")
    said = json.loads(note.read_text())
    said["extra"]["job"] = "denoise"
    note.write_text(json.dumps(said))


def cut_off(scores: Path) -> None:
    scores.write_text(scores.read_text()[:-9])


FAULTS = {
    "empty": (empty, "only empty lines"),
    "no rows": (only_a_header, "no rows"),
    "no pair": (without_a_pair, r"does not say which pair made it.*scores\.csv\.pair\.json"),
    "another table": (another_table, 'no column "score"; name one that isthmus detect wrote'),
    "another job": (of_another_job, "isthmus denoise wrote it"),
    "cut off": (cut_off, "not a table"),
}


@pytest.mark.parametrize(("spoil", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_file_that_is_no_whole_file_of_scores_is_refused_in_a_line(here, strange, spoil, said):
    found = strange("tabular")
    detect(found.model, found.source, "scores.csv", found.settings)
    spoil(Path("scores.csv"))
    with pytest.raises(DataError, match=said) as refused:
        report("scores.csv", "page.html", found.settings)
    assert len(str(refused.value).splitlines()) == 1
    assert not Path("page.html").exists()


@pytest.mark.parametrize(
    ("scores", "page", "said"),
    [
        ("none.csv", "page.html", r"none\.csv: there is no such file"),
        ("page.txt", "page.html", "page.txt: there is no such file"),
        (".", "page.html", "is a folder"),
        ("scores.csv", "page.pdf", r'ending "\.pdf"; a page can be written as \.html'),
        ("scores.csv", "file/page.html", "cannot be written"),
    ],
)
def test_wrong_paths_are_refused_in_a_line(here, strange, scores, page, said):
    found = strange("tabular")
    detect(found.model, found.source, "scores.csv", found.settings)
    Path("file").write_text("")
    with pytest.raises(DataError, match=said):
        report(scores, page, found.settings)
    assert {path.name for path in here.iterdir()} == {"scores.csv", "scores.csv.pair.json", "file"}


def test_the_page_has_the_name_of_the_scores():
    assert page_beside(Path("a/b.c.csv.gz")) == Path("a/b.c.html")
    assert page_beside(Path("scores.parquet")) == Path("scores.html")
