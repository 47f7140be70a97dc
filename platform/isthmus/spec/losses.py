"""Refuses reconstruction losses that do not suit a job's rows."""

from __future__ import annotations

from isthmus.kinds import facts_of
from isthmus.types import DataKind, ReconstructionLoss, Shape


def refusal(loss: ReconstructionLoss, kind: DataKind, row_shape: Shape | None = None) -> str | None:
    """Returns why a loss does not suit such rows and which loss does, or `None` if it does."""
    facts = facts_of(kind)
    compares_pictures = loss in (ReconstructionLoss.SSIM, ReconstructionLoss.MS_SSIM)
    if compares_pictures and facts.shown_as != "pictures":
        return f"{loss} compares images, and the data are {kind}; use mse, l1 or huber"
    compares_waves = loss in (ReconstructionLoss.SPECTRAL, ReconstructionLoss.SNR)
    if compares_waves and not facts.are_windows:
        return f"{loss} compares waves, and the data are {kind}; use mse, l1 or huber"
    if row_shape is None:
        return None
    if loss is ReconstructionLoss.MS_SSIM and min(row_shape[1:]) < 32:
        return (
            f"ms_ssim halves images of {row_shape[1]} x {row_shape[2]} pixels until nothing is "
            "left; use ssim, or images of at least 32 x 32"
        )
    if loss is ReconstructionLoss.SPECTRAL and row_shape[-1] < 32:
        return f"spectral needs windows of at least 32 steps, and they have {row_shape[-1]}; use l1"
    return None
