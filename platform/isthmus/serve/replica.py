"""The deployment that holds the pair: it reads requests, computes them in batches, and answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from ray import serve

from isthmus import own_process
from isthmus.data.storage.memory_folder import folder_in_memory
from isthmus.errors import DataError, IsthmusError, UsageError
from isthmus.quiet import quieten
from isthmus.registry import Pair
from isthmus.serve.batching import (
    REQUESTS_IN_A_BATCH,
    Columns,
    Piece,
    compute,
    size_of,
)
from isthmus.serve.following import Follower
from isthmus.serve.forms import NotJson, UnknownForm, json_bytes
from isthmus.serve.media_types import JSON
from isthmus.serve.messages import Answer, Asked
from isthmus.serve.options import ServeOptions
from isthmus.serve.reading import TooLarge
from isthmus.serve.verbs import ForeignLatents, Work, said_of
from isthmus.spec import Settings

_logger = logging.getLogger(__name__)
_READERS = 4
_STATUS: Mapping[type[IsthmusError], int] = {
    NotJson: 400,
    ForeignLatents: 409,
    TooLarge: 413,
    UnknownForm: 415,
    DataError: 422,
    UsageError: 400,
}
_warnings: ContextVar[list[str] | None] = ContextVar("warnings", default=None)


class _Collecting(logging.Handler):
    """Adds the warnings of a request's reading to those of its answer."""

    def emit(self, record: logging.LogRecord) -> None:
        """Adds one, if the thread works on a request."""
        found = _warnings.get()
        if found is not None:
            found.append(record.getMessage())


class PairReplica:
    """Holds the pair that a reference names, and answers what the door hands on."""

    def __init__(self, options: ServeOptions, settings: Settings | None = None) -> None:
        """Creates it; the pair is loaded when Serve hands over `user_config`.

        Args:
            options: The options of the service.
            settings: The settings with the registry's address; by default from the environment.
        """
        quieten()
        own_process.settle()
        self._options = options
        self._settings = settings or Settings.from_environment()
        self._follower: Follower | None = None
        self._following = ""
        # torch keeps the number of threads for each thread that calls it.
        threads = (torch.set_num_threads, (options.threads,))
        self._computing = ThreadPoolExecutor(1, "isthmus-compute", *threads)
        self._reading = ThreadPoolExecutor(_READERS, "isthmus-read", *threads)
        self._in_batches = serve.batch(
            self._compute,
            max_batch_size=REQUESTS_IN_A_BATCH,
            batch_wait_timeout_s=options.batch_wait_ms / 1000,
            batch_size_fn=size_of,
        )
        logging.getLogger("isthmus").addHandler(_Collecting(logging.WARNING))

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Takes up the reference in `model`: an alias is followed, a version stays.

        Serve calls it at the start, and whenever the configuration of the service changes. The
        pair before answers until the next one is loaded.
        """
        model = str(user_config["model"])
        if model == self._following:
            return
        device = "gpu" if self._options.gpus else "cpu"
        new = await self._in_thread(Follower, model, self._settings, device, _warm_up)
        new.follow(float(user_config.get("follow_s", self._options.follow_s)))
        before, self._follower, self._following = self._follower, new, model
        if before is not None:
            before.end()

    async def standing(self) -> dict[str, str]:
        """Returns which pair answers, and how it stands with what is followed."""
        return asdict(self._followed.standing)

    async def answer(self, asked: Asked) -> Answer:
        """Answers a request; what is wrong with it is said in one line of JSON."""
        pair = self._followed.pair
        warnings: list[str] = []
        token = _warnings.set(warnings)
        try:
            with folder_in_memory("isthmus-request-") as folder:
                work = Work(asked, pair, folder, self._in_batches, self._in_thread)
                answer = await work.answer()
        except IsthmusError as error:
            answer = _refusal(_status_of(error), str(error))
        except Exception as error:
            _logger.exception("unexpected")
            said = f"unexpected {type(error).__name__}; the log of the replica says more"
            answer = _refusal(500, said)
        finally:
            _warnings.reset(token)
        return Answer(
            **{**vars(answer), "pair": said_of(pair), "warnings": tuple(dict.fromkeys(warnings))}
        )

    @property
    def _followed(self) -> Follower:
        assert self._follower is not None  # noqa: S101 (Serve has called `reconfigure`)
        return self._follower

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(
            self._reading, run, function, *arguments
        )

    async def _compute(self, pieces: Sequence[Piece]) -> list[Columns | Exception]:
        """Computes a batch, in the one thread that computes."""
        return await asyncio.get_running_loop().run_in_executor(self._computing, compute, pieces)


def _warm_up(pair: Pair) -> None:
    """Computes once, as the first call of a net takes longer than later ones."""
    rows = np.zeros((1, *pair.manifest.plan.row_shape), dtype=np.float32)
    pair.detect(rows, as_read=True)


def _status_of(error: IsthmusError) -> int:
    return next((status for each, status in _STATUS.items() if isinstance(error, each)), 500)


def _refusal(status: int, line: str) -> Answer:
    return Answer(status, json_bytes({"error": line}), JSON)
