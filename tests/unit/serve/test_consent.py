"""A pair whose code is stored with it is served only with consent, asked for before Ray starts."""

from __future__ import annotations

import pytest

from isthmus.plugins import files
from isthmus.servers import free_port
from tests.own_plugins import write_example

pytestmark = pytest.mark.slow


@pytest.fixture
def without(tmp_path, monkeypatch, isthmus):
    """A registry with the pair `swirled`, whose file is gone; this process has imported none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_HOME", str(tmp_path / ".isthmus"))
    trained = isthmus("train", write_example(tmp_path))
    assert trained.code == 0, trained.err
    (tmp_path / "swirl.py").unlink()
    monkeypatch.setattr(files, "_table", files._Table())


def test_serving_code_without_consent_is_one_line_that_says_how_to_give_it(without, isthmus):
    refused = isthmus("serve", "--model", "swirled/1", "--port", str(free_port("127.0.0.1")))
    assert refused.code != 0
    (line,) = refused.err.strip().splitlines()
    assert 'needs the variant "swirl" of swirl.py, which is stored with the pair' in line
    assert "isthmus --trust" in line
    assert files._table.files == {}
