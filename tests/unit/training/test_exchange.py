"""Sums over the workers of one machine, through its memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from isthmus.servers import free_port
from isthmus.training.exchange import GroupExchange, MemoryExchange

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

CALLS = 200
SHAPES = [(30, 20), (401,), ()]


def exchange_often(rank: int, workers: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=workers)
    like = [torch.empty(shape) for shape in SHAPES]
    exchange, group = MemoryExchange(like, rank, workers), GroupExchange(like)
    generator = torch.Generator().manual_seed(rank)
    found = []
    for call in range(CALLS):
        mine = [torch.randn(shape, generator=generator) for shape in SHAPES]
        if call % (7 + rank) == 0:
            time.sleep(0.003)  # workers are not equally fast, and not always the same one first
        expected = group(mine)
        sums = exchange(mine)
        torch.testing.assert_close(list(sums), list(expected))
        found.append(torch.cat([each.flatten() for each in sums]))
    torch.save(torch.stack(found), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("workers", [2, 3])
def test_every_worker_has_the_same_sum_and_it_is_that_of_the_process_group(
    workers: int, tmp_path: Path
) -> None:
    before = set(Path("/dev/shm").glob("isthmus-*"))
    port = free_port("127.0.0.1")
    multiprocessing.spawn(exchange_often, (workers, port, str(tmp_path)), nprocs=workers)
    first, *others = (torch.load(tmp_path / f"{rank}.pt") for rank in range(workers))
    assert all(torch.equal(first, other) for other in others)
    assert set(Path("/dev/shm").glob("isthmus-*")) <= before
