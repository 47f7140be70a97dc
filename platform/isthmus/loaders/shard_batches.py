"""A data loader over rows that Ray Data reads on a cluster and splits between the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from isthmus.errors import TrainingError
from isthmus.loaders.batches import Batches, mix_seed

if TYPE_CHECKING:
    from isthmus.data.prepared.distributed_table import DistributedRows

SHARD = "train"
"""The name of the training rows among Ray Train's datasets."""
# Rows are shuffled in a buffer of so many values, 8 MiB.
_MIXED_NUMBERS = 1 << 21


@dataclass(kw_only=True)
class ShardBatches(Batches):
    """A data loader of one worker's share of the batches, read from Ray Data.

    Ray Data deals the blocks of rows out to the workers, equally many rows to each, and drops a
    remainder smaller than the number of workers. Seed and epoch determine the order of the files,
    which block goes to which worker, and how a worker shuffles the rows of neighbouring blocks:
    with the same files and number of workers, training is reproducible. A process that resumes from
    a checkpoint begins again with the first epoch's order of files.

    A pass cannot begin in its middle without reading the rows before it, so checkpoints are saved
    between epochs.

    Attributes:
        rows: The rows' number and shape; their values come from Ray Train's shard.
    """

    rows: DistributedRows

    is_resumable: ClassVar[bool] = False

    @property
    def dataset(self) -> DistributedRows:
        """The training rows."""
        return self.rows

    def state_dict(self) -> dict[str, int]:
        """Returns an empty state, because checkpoints are saved at the end of an epoch."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skips the rows that an earlier pass over them, from a file, has trained on."""
        self.resumed_rows = state.get("rows_done", 0) % self.rows_per_epoch

    def _shares(self, seed: int, first_step: int) -> Iterator[Tensor]:
        from ray.train import get_dataset_shard

        from isthmus.data.prepared.distributed_table import ROWS

        mixed_rows = max(self.rows_per_step, _MIXED_NUMBERS // prod(self.rows.shape[1:]))
        batches: Iterator[dict[str, Any]] = iter(
            get_dataset_shard(SHARD).iter_torch_batches(
                batch_size=self.rows_per_step,
                dtypes=torch.float32,
                device=self.device,
                pin_memory=self.device.type == "cuda",
                local_shuffle_buffer_size=mixed_rows,
                local_shuffle_seed=mix_seed(seed, self.rank),
            )
        )
        seen = 0
        for batch in islice(batches, first_step, None):
            share: Tensor = batch[ROWS]
            seen += len(share)
            yield share
        wanted = self.rows_per_epoch // self.workers - first_step * self.rows_per_step
        if seen != wanted:
            raise TrainingError(
                f"{self.rows.spec.shown_path}: an epoch had {seen} rows for each worker and not "
                f"{wanted}; its files have changed since the job began: start it again"
            )
