"""The model card says what is true, its lines run, and people's own words stay."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import isthmus as package
from isthmus import aliases, registry
from isthmus.registry.card import MOST_CHARACTERS, replace_section, write_section
from isthmus.tracking import open_store

ROWS = np.random.default_rng(1).standard_normal((600, 6)).astype(np.float32)


def card_of(settings, name: str, version: int, half: str = "encoder") -> str:
    return open_store(settings).get_model_version(f"{name}-{half}", str(version)).description


@pytest.fixture
def described(trained, settings):
    """Registers a second version beside a champion; returns its card."""
    registry.register_pair(trained("told", 0), settings)
    aliases.promote("told", 1, settings)
    pair = trained("told", 1)
    found = registry.find_succession("told", pair.module, pair.data, ROWS[:300], ROWS, settings)
    counted = {"train": 400, "validation": 50, "test": 50}
    registered = registry.register_pair(replace(pair, succession=found, rows=counted), settings)
    return registered.version


def test_the_card_states_the_pair_its_data_and_the_champions_figures(described, settings):
    card = card_of(settings, "told", described)
    for said in (
        f"told/{described}",
        "champion told/1",
        "rows.csv",
        "400 train, 50 validation, 50 test",
        "Anomaly score: `own`",
        'compatible_with="told/1"',
        "| reconstruction error (mean square, scaled) | "
        "&nbsp;&nbsp;0.5 | &nbsp;&nbsp;0.5 | &nbsp;&nbsp;0.6 |",
    ):
        assert said in card
    assert card.startswith("<!-- isthmus:card -->")  # and nothing beside it
    # A reader first sees what it is and how to load it, then figures, then the gate's verdict.
    write_section(f"told/{described}", "gate", "### Gate\n\nrefused", settings)
    heads = re.findall("^### (.+)$", card_of(settings, "told", described), re.MULTILINE)
    assert heads[:4] == ["Load it", "On held-out rows", "Gate", "Pictures"]
    assert "cannot be read as any older version's" in card_of(settings, "told", 1)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_three_lines_of_the_card_run(described, settings, half, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    (lines,) = re.findall(
        r"```python\n(.+?)\n```", card_of(settings, "told", described, half), re.DOTALL
    )
    assert len(lines.splitlines()) == 3
    names = {"rows": ROWS, "latents": package.load(f"told/{described}").encode(ROWS)}
    exec(lines, names)  # what a reader of the page would paste
    assert names["rows"].shape == ROWS.shape


def test_every_address_of_the_card_is_without_a_host(described, settings):
    addresses = re.findall(r"\]\((.+?)\)", card_of(settings, "told", described))
    assert len(addresses) > 5
    assert all(each.startswith(("#/", "get-artifact?path=")) for each in addresses)


def test_what_people_wrote_survives_the_next_update(described, settings):
    client = open_store(settings)
    for half in ("encoder", "decoder"):
        ours = card_of(settings, "told", described, half)
        changed = f"Ask Ada first.\n\n{ours}\n\nNot for **night** images."
        client.update_model_version(f"told-{half}", str(described), changed)
    for verdict in ("too slow", "passed"):
        write_section(f"told/{described}", "gate", f"### Gate\n\n{verdict}", settings)
    for half in ("encoder", "decoder"):
        card = card_of(settings, "told", described, half)
        assert card.startswith("Ask Ada first.\n")
        assert "Not for **night** images." in card
        assert "passed" in card
        assert "too slow" not in card
        assert "### Load it" in card


def test_a_text_too_long_for_mlflow_is_cut_and_nothing_else():
    words = replace_section("Mine.", "gate", "one\n" * 3000)
    assert len(words) <= MOST_CHARACTERS
    assert words.startswith("Mine.\n")
    assert words.endswith("one\n…\n\n<!-- /isthmus:gate -->")
    full = "x" * MOST_CHARACTERS
    assert replace_section(full, "gate", "lost") == full


def test_a_section_is_replaced_where_it_stands():
    first = replace_section(replace_section("", "card", "A"), "gate", "B")
    again = replace_section(first, "card", r"C \1")
    assert again == first.replace("A", r"C \1")
