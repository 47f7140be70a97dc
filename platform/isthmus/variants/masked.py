"""The masked autoencoder: receives a part of a row and must return the rest."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.masking import (
    feature_mask,
    from_other_rows,
    masked_error,
    patch_mask,
    patches_of,
)
from isthmus.spec import ModelPlan, SpecModel

# By the number of axes of a row: tables, series and audio, images.
_SHARES = {1: 0.3, 2: 0.5, 3: 0.4}
# `patch: auto` gives at most this many patches per side.
_PATCHES_A_SIDE = 8


class Masked(Autoencoder):
    """Minimises the loss at masked values: patches of images, spans of series, table features.

    Masked values are replaced, not dropped, so that any net can be used: in images, series and
    audio by a learned value per channel, in tables by the same feature of another row. The error is
    summed over the masked values and divided by their share of the row, so that it is on the scale
    of a whole row's error. Validation rows are masked too.

    Source: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377,
    section 3, in the form of Xie et al. 2021, "SimMIM", arXiv:2111.09886, section 3; tables as in
    Yoon et al. 2020, "VIME", NeurIPS 33, without its second task (which features were replaced).
    """

    class Config(SpecModel):
        """The masking."""

        share: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["auto"] = "auto"
        """Share of a row's patches, spans or features that are masked; at least one is, and never
        all. `auto`: 0.4 of images, 0.5 of series and audio, 0.3 of tables. More (0.75 in the first
        paper, 0.6 in the second) gives better features of large images, and worse reconstructions
        of whole rows, because only masked values are trained on."""
        patch: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
        """Side of a patch in pixels, or length of a span in steps; tables do not use it. `auto`:
        the shorter side over 8, rounded up."""

    SUMMARY: ClassVar[str] = "guesses what is hidden from what is not; for features and embeddings"
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("mask_value",)
    TAKES_SKIPS: ClassVar[bool] = True
    NEEDS_ELEMENTWISE_LOSS: ClassVar[bool] = True
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder`, with a learned mask value for images, series and audio."""
        super().__init__(plan)
        share = self.options.share
        self._share = _SHARES[len(self.plan.row_shape)] if share == "auto" else share
        if len(self.plan.row_shape) > 1:
            per_channel = (self.plan.row_shape[0],) + (1,) * (len(self.plan.row_shape) - 1)
            self.mask_value = nn.Parameter(torch.zeros(per_channel))

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why a row cannot be masked in part, or `None` if it can."""
        options = cls.Config.model_validate(dict(plan.variant.options))
        if len(plan.row_shape) == 1:
            if plan.row_shape[0] > 1:
                return None
            return "masked guesses a feature from the others, and the table has one; use plain"
        patch = _patch(options, plan)
        if patches_of(plan.row_shape, patch) > 1:
            return None
        return (
            f"patch={patch} hides the whole row of {' x '.join(map(str, plan.row_shape))}; use a "
            "smaller patch, or variant plain"
        )

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the error of scaled rows (B, *row_shape) at values hidden from the encoder."""
        if len(self.plan.row_shape) == 1:
            mask, replacement = feature_mask(x, self._share), from_other_rows(x)
        else:
            mask = patch_mask(x, _patch(self.options, self.plan), self._share)
            replacement = self.mask_value
        output = self.decoder(self.encoder(torch.where(mask, replacement, x)))
        reconstruction = masked_error(self.reconstruction, output, x, mask).mean()
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})


def _patch(options: Masked.Config, plan: ModelPlan) -> int:
    if options.patch != "auto":
        return options.patch
    return -(-min(plan.row_shape[1:]) // _PATCHES_A_SIDE)
