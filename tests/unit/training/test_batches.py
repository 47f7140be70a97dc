"""Every row once an epoch, shared evenly, in an order that seed and epoch determine."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from isthmus.training.batches import TrainingBatches, ValidationBatches, mix_seed


def batches(
    rows: int, batch: int, workers: int, epoch: int = 0, seed: int = 0
) -> list[list[torch.Tensor]]:
    """Each worker's batches."""
    values = torch.arange(rows).float()[:, None]
    return [
        list(TrainingBatches(values, batch, rank, workers, seed, epoch)) for rank in range(workers)
    ]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_workers_take_equal_steps_and_see_each_row_at_most_once(
    rows: int, per_worker: int, workers: int, epoch: int
) -> None:
    rows = max(rows, workers)  # fewer are refused before training starts
    found = batches(rows, per_worker * workers, workers, epoch)
    assert len({tuple(len(step) for step in share) for share in found}) == 1
    seen = torch.cat([step for share in found for step in share] or [torch.empty(0, 1)]).flatten()
    assert len(seen.unique()) == len(seen) == rows - rows % workers
    declared = len(TrainingBatches(torch.zeros(rows, 1), per_worker * workers, 0, workers, 0))
    assert all(len(share) == declared for share in found)


def test_each_epoch_has_another_order_and_the_same_epoch_the_same() -> None:
    first, again, later = (batches(100, 10, 1, epoch)[0] for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, later, strict=True))


def test_validation_sees_every_row_once_over_all_workers() -> None:
    rows = torch.arange(103).float()[:, None]
    shares = [list(ValidationBatches(rows, 10, rank, 4)) for rank in range(4)]
    seen = torch.cat([step for share in shares for step in share]).flatten()
    assert sorted(seen.tolist()) == rows.flatten().tolist()


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
)
def test_different_parts_give_different_seeds(first: list[int], second: list[int]) -> None:
    assert (mix_seed(*first) == mix_seed(*second)) == (first == second)
    assert 0 <= mix_seed(*first) < 2**63
