"""Workers without Ray: processes that form a process group, as Ray Train's do, within a second.

They are forked from one that has imported torch, Lightning and Isthmus, which takes seconds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from isthmus.servers import free_port

_IMPORTED = ["torch", "pytorch_lightning", "isthmus.training.worker_loop", "isthmus.variants"]


def run_together(workers: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(rank, workers, *arguments)` gives in each of so many processes of a group.

    Raises:
        ProcessRaisedException: If one of them fails; the others are ended.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(_IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(
            _work_in_group,
            (workers, free_port("127.0.0.1"), folder, work, arguments),
            nprocs=workers,
            start_method="forkserver",
        )
        files = (Path(folder) / f"{rank}.pt" for rank in range(workers))
        return [torch.load(each, weights_only=False) for each in files]


def _work_in_group(
    rank: int,
    workers: int,
    port: int,
    folder: str,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    # As torchrun says it, whose environment Lightning's plain strategies read.
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=workers)
    torch.save(work(rank, workers, *arguments), Path(folder) / f"{rank}.pt")
    distributed.barrier()  # the first worker keeps the others' meeting point
    distributed.destroy_process_group()
