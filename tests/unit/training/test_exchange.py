"""Sums over the workers of one machine, through its memory."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from isthmus.training.exchange import GroupExchange, MemoryExchange

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WORKERS = 3
CALLS = 200


def exchange_often(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=WORKERS)
    exchange, group = MemoryExchange(1001, rank, WORKERS), GroupExchange()
    generator = torch.Generator().manual_seed(rank)
    found = []
    for call in range(CALLS):
        mine = torch.randn(1001, generator=generator)
        if call % (7 + rank) == 0:
            time.sleep(0.003)  # workers are not equally fast, and not always the same one first
        expected, total = torch.empty_like(mine), torch.empty_like(mine)
        exchange(mine.split(300), total)
        group(mine.split(300), expected)
        torch.testing.assert_close(total, expected)
        found.append(total)
    torch.save(torch.stack(found), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_every_worker_has_the_same_sum_and_it_is_that_of_the_process_group(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").glob("isthmus-*"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(exchange_often, (port, str(tmp_path)), nprocs=WORKERS)
    first, *others = (torch.load(tmp_path / f"{rank}.pt") for rank in range(WORKERS))
    assert all(torch.equal(first, other) for other in others)
    assert set(Path("/dev/shm").glob("isthmus-*")) <= before
