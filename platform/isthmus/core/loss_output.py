"""The loss of a batch, with its terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """The loss that a variant minimises, and its terms.

    Attributes:
        total: The loss, averaged over the batch, shape ().
        parts: The terms of the loss by name, averaged over the batch and not yet weighted, each of
            shape ().
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self) -> dict[str, Tensor]:
        """Returns `loss` and the parts by name, but leaves out a part that is the loss itself."""
        parts = {name: part for name, part in self.parts.items() if part is not self.total}
        return {"loss": self.total, **parts}
