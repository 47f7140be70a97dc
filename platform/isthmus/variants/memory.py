"""The memory-augmented autoencoder: decodes similar memory items instead of the encoding."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.spec import SpecModel

_EPSILON = 1e-12


class Memory(Autoencoder):
    """Minimises reconstruction from a few memory items, and the entropy of their addressing.

    The encoding is only a query; the latent is the answer: a sparse mean of learned items, the
    nearest by angle. A row unlike the training rows is decoded from the items of normal rows, and
    so with a large error.

    Source: Gong et al. 2019, "Memorizing Normality to Detect Anomaly: Memory-augmented Deep
    Autoencoder for Unsupervised Anomaly Detection", arXiv:1904.02639, equations 3 to 10.
    """

    class Config(SpecModel):
        """The memory."""

        items: Annotated[int, Field(ge=2, le=65_536)] = 100
        """Items in the memory."""
        temperature: float = Field(default=0.25, gt=0.0)
        """Divisor of the similarities, in [-1, 1], before the softmax. The paper's is 1; a lower
        one reads from fewer items, and reconstructs better. At 0.1 and below training may end with
        all rows on one item, as it may with a `shrinkage` above `auto`."""
        shrinkage: Annotated[float, Field(ge=0.0, lt=1.0)] | Literal["auto"] = "auto"
        """Addressing weights below this become 0. `auto`: 1 over the items, the lower end of what
        the paper recommends (to 3 over the items)."""
        entropy_weight: float = Field(default=2e-4, ge=0.0)
        """Weight of the addressing's entropy, in nats."""

    SUMMARY: ClassVar[str] = "decodes from remembered normal rows; for anomalies it must not learn"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.ENCODER_PARTS, "memory")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a memory between encoder and decoder."""
        super().__init__(plan)
        items, shrinkage = self.options.items, self.options.shrinkage
        self.memory = _Items(
            items,
            self.plan.latent_dim,
            self.options.temperature,
            1 / items if shrinkage == "auto" else shrinkage,
        )

    def latent(self, encoded: Tensor) -> Tensor:
        """Reads the latent from the memory: (B, latent_dim) to (B, latent_dim)."""
        read: Tensor = self.memory(self.memory.address(encoded))
        return read

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the weighted entropy, of scaled rows (B, *row_shape)."""
        weights = self.memory.address(self.encoder(x))
        reconstruction = self.reconstruction_term(self.decoder(self.memory(weights)), x)
        entropy = addressing_entropy(weights).mean()
        return LossOutput(
            total=reconstruction + self.options.entropy_weight * entropy,
            parts={"reconstruction": reconstruction, "entropy": entropy},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the mean `items_per_row` that are read, and the `items_in_use` by any row."""
        is_read = self.memory.address(self.encoder(x)) > 0
        return {
            "items_per_row": float(is_read.sum(dim=1).float().mean()),
            "items_in_use": float(is_read.any(dim=0).sum()),
        }


class _Items(nn.Module):
    """The memory, with N items of the latent's size D."""

    def __init__(self, items: int, latent_dim: int, temperature: float, shrinkage: float) -> None:
        super().__init__()
        self.items_ND = nn.Parameter(torch.randn(items, latent_dim))
        self.temperature = temperature
        self.shrinkage = shrinkage

    def address(self, query_BD: Tensor) -> Tensor:
        """Computes the weight of each item, (B, N): at least 0, and 1 in sum over N.

        These are equations 4 to 7; the shrinkage is the continuous form of equation 7.
        """
        similarity = (
            functional.normalize(query_BD, dim=1) @ functional.normalize(self.items_ND, dim=1).t()
        )
        weights = (similarity / self.temperature).softmax(dim=1)
        above = weights - self.shrinkage
        shrunk = above.relu() * weights / (above.abs() + _EPSILON)
        return shrunk / shrunk.sum(dim=1, keepdim=True).clamp(min=_EPSILON)

    def forward(self, weights_BN: Tensor) -> Tensor:
        """Computes the weighted mean of the items, (B, D); equation 3."""
        return weights_BN @ self.items_ND


def addressing_entropy(weights: Tensor) -> Tensor:
    """Computes the entropy of each row's addressing (B, N), shape (B,), in nats; equation 9."""
    return -torch.xlogy(weights, weights.clamp(min=_EPSILON)).sum(dim=1)
