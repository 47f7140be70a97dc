"""Losses are summed over rows, however many steps they come in."""

import pytest
import torch

from isthmus.training.loss_sums import LossSums


@pytest.mark.parametrize("steps", [1, 255, 256, 700])
@pytest.mark.parametrize("is_as_on_a_gpu", [False, True])
def test_the_sums_are_of_rows_and_counting_begins_anew(steps, is_as_on_a_gpu, monkeypatch):
    sums = LossSums()
    if is_as_on_a_gpu:
        monkeypatch.setattr(sums, "add", lambda means, rows: _add_in_place(sums, means, rows))
    for _ in range(2):
        means = torch.rand(steps, 2)
        rows = torch.randint(1, 50, (steps,))
        for mean, count in zip(means, rows.tolist(), strict=True):
            sums.add({"loss": mean[0], "part": mean[1]}, count)
        found = sums.pop()
        assert list(found) == ["loss", "part", "rows"]
        assert found["rows"] == rows.sum()
        wanted = (means.double() * rows.unsqueeze(1)).sum(dim=0)
        torch.testing.assert_close(torch.stack([found["loss"], found["part"]]), wanted)


def _add_in_place(sums, means, rows):
    sums._names = tuple(means)
    sums._add_in_place(list(means.values()), rows)


def test_none_were_seen():
    assert LossSums().pop() == {}
