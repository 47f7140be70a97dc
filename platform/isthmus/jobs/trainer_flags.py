"""The arguments of Lightning's Trainer that a job may set, and the fields that set the others."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from isthmus.errors import nearest

_OWN_FIELDS = {
    "max_epochs": "training.epochs",
    "min_epochs": "training.early_stopping",
    "max_steps": "training.epochs",
    "min_steps": "training.early_stopping",
    "limit_train_batches": "data: a smaller file, or training.global_batch_size",
    "val_check_interval": "nothing: the best epoch is chosen by the loss at its end",
    "accelerator": "training.device",
    "devices": "training.workers",
    "num_nodes": "training.workers",
    "strategy": "training.strategy",
    "precision": "training.precision",
    "accumulate_grad_batches": "training.accumulate_batches",
    "gradient_clip_val": "training.gradient_clip_norm",
    "gradient_clip_algorithm": "training.gradient_clip_norm",
    "enable_checkpointing": "training.checkpoint_interval_s",
    "callbacks": "isthmus.train(job, callbacks=[...])",
    "logger": "MLFLOW_TRACKING_URI: losses are logged to MLflow",
    "deterministic": "training.seed: training is deterministic where torch can be",
    "inference_mode": "nothing: some variants take gradients of held-out rows",
    "use_distributed_sampler": "training.workers: rows are shared out already",
    "plugins": "training.precision and training.strategy",
    "check_val_every_n_epoch": "nothing: the best epoch is chosen by the loss after each",
    "limit_val_batches": "data.validation_fraction",
    "reload_dataloaders_every_n_epochs": "nothing: the rows are the same in each epoch",
    "overfit_batches": "data: a small file shows the same",
    "barebones": "nothing: it turns off what a job relies on",
    "fast_dev_run": "training.epochs: 1",
}

# A Trainer that only checks its arguments: it looks for no GPU and writes no file.
_BARE: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def flag_faults(flags: Mapping[str, object]) -> dict[str, str]:
    """Returns what is wrong with each argument of the Trainer, by name; empty if all are valid.

    Lightning is imported only if there are arguments.

    Args:
        flags: The job's `training.trainer`.
    """
    if not flags:
        return {}
    from pytorch_lightning import Trainer

    known = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    valid = [name for name in known if name not in _OWN_FIELDS]
    faults = {}
    for name in flags:
        if name in _OWN_FIELDS:
            faults[name] = f"Isthmus sets {name} itself; use {_OWN_FIELDS[name]}"
        elif name not in known:
            faults[name] = f'Lightning\'s Trainer has no argument "{name}"; {nearest(name, valid)}'
        elif why := _refusal(name, flags[name]):
            faults[name] = f"Lightning's Trainer refuses {flags[name]!r}: {why}"
    return faults


def _refusal(name: str, value: object) -> str | None:
    """Returns why the Trainer refuses a value, in one line; `None` if it takes it."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning import Trainer

    kind = get_type_hints(Trainer.__init__)[name]
    if kind in (bool, bool | None):
        return None if isinstance(value, bool | None) else "use true or false"
    try:
        config = ConfigDict(arbitrary_types_allowed=True, strict=True)
        TypeAdapter(kind, config=config).validate_python(value)
        # Some values are known only to the Trainer, such as the names of profilers.
        with _quiet():
            Trainer(**{**_BARE, name: value})
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).replace("Input should be ", "use ")
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        return " ".join(str(error).split())
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the remarks that Lightning makes about each Trainer out of the log, for a block."""
    remarks = logging.getLogger("pytorch_lightning")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        remarks.setLevel(level)
