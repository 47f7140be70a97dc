"""The module that every variant extends: two halves, scaling, one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD is a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from isthmus import nets
from isthmus.core.clock import Clock
from isthmus.core.integer_tables import IntTable
from isthmus.core.loss_output import LossOutput
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.similarity import peak_signal_to_noise_ratio, ssim
from isthmus.kinds import facts_of
from isthmus.spec import ModelPlan, PluginSpec, SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

PlanLike = ModelPlan | Mapping[str, Any]
"""A `ModelPlan`, or the mapping of plain values that a checkpoint stores for it."""

LatentPrior = Literal["none", "standard_normal", "learned", "tables"]
"""The distribution that a variant gives its latents before it has seen a row. `learned`: one that
training has fitted. `tables`: the frequencies with which a coded latent is compressed."""

# `latent_dim: auto` is a row's number of values divided by the first, clamped to the second.
_LATENT_SHARE = 4
_LATENT_RANGE = (2, 32)


class Autoencoder(nn.Module, ABC):
    """An encoder and a decoder that are trained together and can be used separately.

    A variant defines `loss`. It also defines `latent` if its latent is not simply the encoder's
    output. `encode`, `decode`, `reconstruct` and `score` work in data units. `loss` works on rows
    that are already scaled, because training scales all rows once and not at every step.

    `loss` is called in training and, with `self.training` false, on validation rows. There it must
    return the final objective (no annealed weights), because the epoch with the lowest validation
    loss is the best one.
    """

    class Config(SpecModel):
        """The variant's own options, which the job file gives next to the variant's name."""

    SUMMARY: ClassVar[str] = ""
    """A line that says what the variant is and when to choose it."""
    ENCODER_OUTPUTS_PER_LATENT: ClassVar[int] = 1
    """The number of encoder outputs for each latent dimension: 2 for a mean and a variance."""
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "encoder")
    """The submodules that `encode` needs. The registered encoder consists of them."""
    DECODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "decoder", "reconstruction")
    """The submodules that `decode` needs, and those that `score` needs besides the encoder's. The
    registered decoder consists of them."""
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ()
    """The submodules that only training needs, such as a discriminator. They are in neither half
    and are not registered."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that the variant accepts."""
    VIEWS: ClassVar[int] = 1
    """The number of measurements of each row that the variant trains on. With 2, `loss` takes a
    batch of shape (B, 2, *row_shape)."""
    TAKES_CLEAN_ROWS: ClassVar[bool] = False
    """Whether the variant can also train on rows that hold noise beside their clean versions: in a
    batch of shape (B, 2, *row_shape), noisy first."""
    TAKES_SKIPS: ClassVar[bool] = False
    """Whether the variant works with nets whose skip connections bypass the bottleneck. Its target
    must then differ from its input, because otherwise it learns to copy."""
    REMOVES_NOISE: ClassVar[bool] = False
    """Whether the variant learns to give a row without the noise that is in it."""
    CODES_MAPS: ClassVar[bool] = False
    """Whether the variant counts the bits of its latent, also where that is one map as large as the
    row, so that it learns to make it small with nets that have no bottleneck."""
    AUTO_LOSS: ClassVar[ReconstructionLoss] = ReconstructionLoss.MSE
    """The loss that `reconstruction: auto` selects. Where the loss is a likelihood next to a KL
    term, a learned variance spares the user a weight (Rybkin et al. 2021, arXiv:2006.13202)."""
    AUTO_LOSS_OF_SOUNDS: ClassVar[ReconstructionLoss | None] = None
    """The loss that `reconstruction: auto` selects for audio, if it is another one."""
    NEEDS_ELEMENTWISE_LOSS: ClassVar[bool] = False
    """Whether the variant weights the errors of single values, which SSIM and spectral losses do
    not have."""
    PRIOR: ClassVar[LatentPrior] = "none"
    """The prior over latents. Of a variant with one, rows can be sampled that nobody has measured;
    with any but `standard_normal` the variant defines `sample_latents`."""

    CUDA_GRAPH_SAFE: ClassVar[bool] = False
    """Whether a GPU can record one training step as a CUDA graph and replay it. Every step must
    then run the same operations, must differ only in the values of its tensors, and must never
    wait for these values. A Python number or branch that changes from step to step would be
    replayed as it was recorded. `warm_up` is safe: it returns a tensor while a step is recorded."""

    options: SpecModel
    """The variant's `Config`, with the values that the plan gives."""

    clock: Clock = Clock()
    """The clock that tells `loss` how far training is; outside training it stands still."""

    def __init__(self, plan: PlanLike) -> None:
        """Builds the module and draws its weights from torch's global generator.

        Args:
            plan: The plan of the model. It is kept as `self.plan`.
        """
        super().__init__()
        plan = plan if isinstance(plan, ModelPlan) else ModelPlan.model_validate(dict(plan))
        self.plan = plan
        self.options = self.Config.model_validate(dict(plan.variant.options))
        outputs = plan.latent_dim * self.ENCODER_OUTPUTS_PER_LATENT
        self.encoder, self.decoder = nets.build(plan, outputs)
        self.reconstruction = Reconstruction(plan.reconstruction, plan.row_shape)
        self.scaling = Scaling(plan.row_shape)

    # -- what a variant defines -----------------------------------------------------------------

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of a batch of scaled rows, shape (B, *row_shape)."""

    def latent(self, encoded: Tensor) -> Tensor:
        """Converts the encoder's output (B, latent_dim * k) to the latent (B, latent_dim).

        k is `ENCODER_OUTPUTS_PER_LATENT`. By default the latent is the output itself.
        """
        return encoded

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """Returns what `latent_dim: auto` means: a quarter of a row's values, from 2 to 32."""
        lowest, highest = _LATENT_RANGE
        return min(max(prod(row_shape) // _LATENT_SHARE, lowest), highest)

    @property
    def code_size(self) -> int:
        """The number of latent values that describe a row. PCA is compared at this size."""
        return self.plan.latent_dim

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why this variant cannot work with the plan and what can, or `None` if it can."""
        return None

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the metrics that papers on this kind of model report; none by default.

        Args:
            x: Scaled held-out rows, shape (N, *row_shape).
        """
        return {}

    def noised(self, x: Tensor, *, weakest: bool = False) -> Tensor | None:
        """Adds to scaled rows the strongest noise that the variant learns to remove.

        Args:
            x: Scaled rows, shape (B, *row_shape).
            weakest: Whether to add the weakest noise instead.

        Returns:
            The noisy rows, or `None` if the variant does not remove noise or never saw a row
            without noise; of the weakest noise also if it learns to remove noise of one strength
            alone, or of any strength from 0 on.
        """
        return None

    def sample_latents(
        self, count: int, generator: torch.Generator, tables: Sequence[IntTable] = ()
    ) -> Tensor:
        """Draws latents from the prior, shape (count, latent_dim).

        Args:
            count: The number of latents.
            generator: A generator of the CPU, so that a seed means the same on every device.
            tables: The tables with which the pair compresses, if it does.

        Raises:
            NotImplementedError: If the variant has no prior.

        Source: Kingma & Welling 2013, arXiv:1312.6114, section 2.1: the standard normal prior.
        """
        if self.PRIOR != "standard_normal":
            raise NotImplementedError(f"{type(self).__name__} has no prior to draw from")
        drawn = torch.randn(count, self.plan.latent_dim, generator=generator)
        return drawn.to(self.scaling.scale)

    # -- what a variant can use -----------------------------------------------------------------

    def reconstruction_term(self, output: Tensor, target: Tensor) -> Tensor:
        """Computes the plan's reconstruction loss, shape ().

        The loss is summed over a row and averaged over the batch.
        """
        return self.reconstruction.mean(output, target)

    def warm_up(self, epochs: float) -> float | Tensor:
        """Returns the fraction of the first `epochs` epochs that training has completed.

        If half of all epochs is less than `epochs`, it is the fraction of that half.

        Returns:
            A value in (0, 1] that rises linearly with the optimizer steps. It is 1 outside
            training, where a loss must be the final objective, and where weights are trained
            already: a term that is let go of would have to be learned a second time. While steps
            are recorded in a CUDA graph, it is a tensor of shape (), because a graph records no
            Python numbers.
        """
        return self.clock.warm_up(epochs) if self.training and epochs > 0 else 1.0

    # -- what a trained autoencoder does, in data units -----------------------------------------

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Encodes rows of shape (B, *row_shape) as latents of shape (B, latent_dim).

        The same input always gives the same latent.

        Args:
            x: The rows.
            context: The `context` of the whole rows, if `x` are parts of them.
        """
        scaled = self.scaling(x)
        encoded: Tensor = self.encoder(scaled) if context is None else self.encoder(scaled, context)
        return self.latent(encoded)

    def context(self, x: Tensor) -> Tensor | None:
        """Returns what the net finds in whole rows (B, *row_shape) that parts of them lack.

        Only a net that is told the noise level has one, shape (B,). It makes the encodings of parts
        agree with that of the whole.
        """
        find = getattr(self.encoder, "context", None)
        return find(self.scaling(x)) if find else None

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents of shape (B, latent_dim) to rows of shape (B, *row_shape)."""
        x: Tensor = self.scaling.inverse(self._decode_scaled(z))
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encodes and decodes rows. The result has their shape and units."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Calls `reconstruct`."""
        return self.reconstruct(x)

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is, by default as its reconstruction error.

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        return self.reconstruction_error(x)

    def exportable_score(self) -> Callable[[Tensor], Tensor]:
        """Returns a function that computes `score` with operations that ONNX supports.

        The function runs on the CPU, and the weights must not change after this call.
        """
        return self.score

    def reconstruction_error(self, x: Tensor) -> Tensor:
        """Computes the mean squared error of each reconstruction, in scaled units, shape (B,)."""
        scaled: Tensor = self.scaling(x)
        decoded = self._decode_scaled(self.latent(self.encoder(scaled)))
        return (scaled - decoded).square().flatten(1).mean(dim=1)

    def at(self, row_shape: Shape) -> Self:
        """Returns the autoencoder for rows of another size, which shares this one's weights.

        Its net must be for rows of any size (`Net.ANY_SIZE`). No weight is copied, and none may be
        moved to another device while both are in use.

        Args:
            row_shape: The shape, with as many axes and channels as `plan.row_shape`.

        Raises:
            ValueError: If the net or the scaling is for rows of one size.
        """
        made = nets.made_for(self.plan.net, self.plan.row_shape)
        net = PluginSpec(name=self.plan.net.name, options=made.settled().model_dump(mode="json"))
        latent_dim = nets.made_for(net, row_shape).fixed_latent_dim()
        if not made.ANY_SIZE or latent_dim is None:
            raise ValueError(f"{net.name} is a net for rows of one size")
        # Not validated: the size of a stored plan is limited, that of an image is the caller's.
        plan = self.plan.model_copy(
            update={"row_shape": row_shape, "latent_dim": latent_dim, "net": net}
        )
        with torch.device("meta"):  # shapes alone: no memory, no draws
            sized = type(self)(plan)
        state = self.state_dict(keep_vars=True)
        shared = {name: _sized(tensor, state[name]) for name, tensor in sized.state_dict().items()}
        sized.load_state_dict(shared, assign=True)
        return sized.train(self.training)

    def load_halves(self, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
        """Loads the weights of both registered halves.

        The submodules that only training needs keep their initial weights.

        Args:
            state: The weights by name.
            assign: Whether the given tensors become the weights themselves instead of being copied.

        Raises:
            RuntimeError: If weights are missing, unexpected or of another shape.
        """
        drawn = self.state_dict()
        training_only = {
            name: drawn[name] for name in drawn if name.partition(".")[0] in self.TRAINING_PARTS
        }
        self.load_state_dict({**training_only, **state}, assign=assign)

    def _decode_scaled(self, z: Tensor) -> Tensor:
        return self.reconstruction.activate(self.decoder(z))

    def metrics(self, x: Tensor) -> dict[str, float]:
        """Measures how well the module reconstructs scaled held-out rows (N, *row_shape).

        Returns:
            `explained_variance` (the fraction of the rows' variance that is reconstructed), for
            images also `psnr_db` and `ssim`, and the metrics of `own_metrics`.
        """
        reconstruction = self._decode_scaled(self.latent(self.encoder(x)))
        residual = (x - reconstruction).square().sum()
        spread = (x - x.mean(dim=0)).square().sum()
        found = {"explained_variance": float(1 - residual / spread)}
        if facts_of(self.plan.kind).shown_as == "pictures":
            found["psnr_db"] = peak_signal_to_noise_ratio(reconstruction, x)
            found["ssim"] = float(ssim(reconstruction, x).mean())
        return {**found, **self.own_metrics(x)}


def _sized(wanted: Tensor, given: Tensor) -> Tensor:
    """Returns a tensor for rows of another size; a scaling's is the same at each pixel or step."""
    if wanted.shape == given.shape:
        return given
    first = given[(slice(None), *[slice(1)] * (given.ndim - 1))]
    if not torch.equal(first.expand_as(given), given):
        raise ValueError("each pixel or step has a scale of its own, and another size has others")
    return first.expand(wanted.shape)
