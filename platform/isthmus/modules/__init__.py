"""Autoencoders as LightningModules, which any Lightning Trainer trains.

A variant is an ordinary `torch.nn.Module`, and the LightningModule holds it, as Lightning's
documentation builds a module around a network. A variant is not itself a LightningModule, because
most processes that load one never train it: importing Lightning takes about as long as importing
torch, and a service or a job that scores a file would pay for it at each start.
"""

from __future__ import annotations

from typing import Any

from isthmus import variants
from isthmus.core.adversary import AdversarialAutoencoder
from isthmus.modules.adversarial_module import AdversarialModule
from isthmus.modules.autoencoder_module import AutoencoderModule, StepGroup, rows_of
from isthmus.modules.state_names import names_in_autoencoder
from isthmus.spec import ModelPlan

__all__ = [
    "AdversarialModule",
    "AutoencoderModule",
    "StepGroup",
    "build",
    "class_for",
    "names_in_autoencoder",
    "rows_of",
]


def class_for(plan: ModelPlan) -> type[AutoencoderModule]:
    """Returns the class of the module that trains a plan's autoencoder."""
    variant = variants.get(plan.variant.name)
    return AdversarialModule if issubclass(variant, AdversarialAutoencoder) else AutoencoderModule


def build(plan: ModelPlan, **training: Any) -> AutoencoderModule:
    """Builds the module that trains a plan's autoencoder; draws weights from torch's generator.

    Args:
        plan: The plan of the model.
        **training: The training options, which are arguments of `AutoencoderModule`;
            `accumulate_batches` is one of `AdversarialModule` only.
    """
    return class_for(plan)(plan, **training)
