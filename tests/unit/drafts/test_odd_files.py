"""`isthmus init` of files that one field lets be read: it finds the field, or takes it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from isthmus.drafts import draft_job
from isthmus.errors import DataError, UsageError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import load_job_file

pytestmark = pytest.mark.usefixtures("here")
RNG = np.random.default_rng(0)
TOWNS = [("Bern", "Köln", "Oslo")[each] for each in RNG.integers(0, 3, 60)]
ROWS = [f"{flow:.2f},{town},{heat:.3f}" for flow, town, heat in zip(
    RNG.normal(5, 1, 60), TOWNS, RNG.normal(1, 0.1, 60), strict=True)]  # fmt: skip


def written(lines: list[str], name: str = "t.csv", encoding: str = "utf-8") -> str:
    Path(name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return name


def data_of_draft(path: str, *overrides: str) -> tuple[dict[str, Any], int]:
    """The data section of the draft, and the rows that training makes of it."""
    Path("job.yaml").write_text(draft_job(path, overrides=overrides).text)
    with closing(prepare(load_job_file("job.yaml"))) as prepared:
        rows = sum(prepared.split_sizes.values())
    found: dict[str, Any] = yaml.safe_load(Path("job.yaml").read_text())["data"]
    return found, rows


def test_a_first_line_like_those_below_it_is_a_row(isthmus):
    data, rows = data_of_draft(written(ROWS))
    assert data["header"] == "none"
    assert data["categories"] == ["f1"]
    assert rows == 60
    done = isthmus("init", "t.csv")
    assert "header: none. The first line is like those below it" in done.out


@pytest.mark.parametrize(
    "first",
    ["flow,town,heat", "5.21,town,1.1", "2019,town,2020", "2019,Basel,2020"],
    ids=["names", "a name among numbers", "years", "years and another town"],
)
def test_a_first_line_with_names_stays_the_header(first: str):
    data, rows = data_of_draft(written([first, *ROWS]))
    assert "header" not in data
    assert rows == 60


def test_what_is_guessed_can_be_given_otherwise():
    data, rows = data_of_draft(written(ROWS), "data.header=auto")
    assert data["header"] == "auto"
    assert data["categories"] == [ROWS[0].split(",")[1]]
    assert rows == 59


def test_a_first_line_of_numbers_alone_is_drafted_as_a_row():
    lines = [f"{a:.2f},{b:.2f}" for a, b in RNG.normal(5, 1, (60, 2))]
    assert data_of_draft(written(lines))[0]["header"] == "none"


def test_utf_16_is_found_by_its_mark():
    data, rows = data_of_draft(written(["flow,town,heat", *ROWS], encoding="utf-16"))
    assert data["encoding"] == "utf-16"
    assert rows == 60


def test_a_field_given_with_set_is_used_and_written(isthmus):
    written(["flow,town,heat", *ROWS], encoding="latin-1")
    refused = isthmus("init", "t.csv")
    assert refused.code == 3
    assert "add --set data.encoding=VALUE to isthmus init" in refused.err
    done = isthmus("init", "t.csv", "--set", "data.encoding=latin-1")
    assert done.code == 0
    text = Path("t.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["data"]["encoding"] == "latin-1"
    assert "Köln" in text


@pytest.mark.parametrize("override", ["latent_dim=3", "data.path=x.csv", "data.colour=red"])
def test_only_fields_of_the_data_section_can_be_given(override: str):
    with pytest.raises(UsageError, match="takes fields of the data section"):
        draft_job(written(ROWS), overrides=[override])


def test_a_folder_of_images_and_tables_says_how_to_name_the_images():
    from PIL import Image

    Path("mixed").mkdir()
    written(["a,b", "1,2"], "mixed/a.csv")
    for each in range(20):
        image = RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(f"mixed/{each}.png")
    told = "holds 20 images and 1 table or array; name .* glob, such as (.*)$"
    with pytest.raises(DataError, match=told) as caught:
        draft_job("mixed")
    assert draft_job(str(caught.value).rpartition(" ")[2]).kind == "images"


def test_a_row_of_one_value_is_not_said_to_have_a_smaller_latent():
    text = draft_job(written(["a", *(f"{each:.3f}" for each in RNG.normal(size=60))])).text
    assert "A row has 1 value, so that the latent has room for all" in text.replace("\n# ", " ")
    assert "fewer than that" not in text


def test_numbers_with_thousands_are_shown_as_the_file_has_them_and_constant_ones_are_left_out():
    lines = [f'"{each:,}.50","1,000"' for each in RNG.integers(1000, 9999, 60)]
    draft = draft_job(written(["income,fee", *lines]))
    first = lines[0].split('"')[1]
    assert f"Numbers are written as {first}." in draft.text
    assert draft.left_out == ("fee",)
    assert "fee  # is 1,000 in every row" in draft.text
