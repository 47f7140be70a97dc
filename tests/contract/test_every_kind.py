"""The contract of a kind of data: its facts name what there is, and are read without its reader."""

from __future__ import annotations

import subprocess
import sys

import pytest

from isthmus.data import kinds
from isthmus.declarations import declaration, plugin_names
from isthmus.kinds import facts_of, is_taken
from isthmus.spec import DataSpec
from isthmus.types import DataKind

every_kind = pytest.mark.parametrize("kind", DataKind)


def test_every_file_of_the_room_is_a_kind_and_every_kind_is_a_file():
    assert set(kinds.names()) == set(DataKind)


@every_kind
def test_the_nets_and_the_score_that_auto_means_take_the_kind(kind):
    facts = facts_of(kind)
    nets = {facts.net, facts.noisy_net, facts.any_size_net, facts.coded_any_size_net} - {None}
    for room, names in (("nets", nets), ("scores", {facts.score})):
        assert names <= set(plugin_names(room))
        for name in names:
            assert is_taken(kind, declaration(room, name).value("KINDS"))


@every_kind
def test_the_facts_are_about_fields_and_words_that_there_are(kind):
    facts = facts_of(kind)
    assert set(facts.fields) <= set(DataSpec.model_fields)
    assert "5 x 7" in facts.words.format(shape="5 x 7")
    assert facts.like is None or facts.like in set(DataKind)


@every_kind
def test_what_is_read_from_the_source_is_what_the_class_says(kind):
    assert facts_of(kind) == kinds.get(kind).FACTS


def test_to_ask_for_the_facts_of_every_kind_imports_no_reader():
    script = (
        "import sys; from isthmus.kinds import facts_of; from isthmus.types import DataKind\n"
        "assert [facts_of(kind) for kind in DataKind]; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "pyarrow", "torch", "isthmus.data"} & set(done.stdout.split())
