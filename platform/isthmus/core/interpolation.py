"""Ways between two latents.

Shapes: z_D and other_D are one latent each; share_S says how far along the way S latents lie.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below this angle, or this far from the opposite direction, in radians, no arc can be computed.
_LEAST_ANGLE = 1e-4


def linear(z_D: Tensor, other_D: Tensor, share_S: Tensor) -> Tensor:
    """Returns the latents on the straight line from one to another, shape (S, D)."""
    return torch.lerp(z_D, other_D, share_S.unsqueeze(1))


def spherical(z_D: Tensor, other_D: Tensor, share_S: Tensor) -> Tensor:
    """Returns the latents on the arc from one to another, shape (S, D).

    In many dimensions nearly all of N(0, 1) lies at about the same distance from 0. A straight line
    leaves that shell, where the decoder has learned nothing, and an arc keeps to it. Between two
    latents in the same or in opposite directions the way is straight.

    Source: Shoemake 1985, "Animating Rotation with Quaternion Curves", SIGGRAPH, section 3.3; for
    latents White 2016, "Sampling Generative Networks", arXiv:1609.04468, section 2.1.
    """
    lengths = torch.linalg.vector_norm(z_D) * torch.linalg.vector_norm(other_D)
    cosine = (z_D @ other_D / lengths.clamp(min=torch.finfo(z_D.dtype).tiny)).clamp(-1, 1)
    angle = cosine.arccos()
    if min(float(angle), float(torch.pi - angle)) < _LEAST_ANGLE:
        return linear(z_D, other_D, share_S)
    share_S1 = share_S.unsqueeze(1)
    parts = ((1 - share_S1) * angle).sin() * z_D + (share_S1 * angle).sin() * other_D
    way: Tensor = parts / angle.sin()
    return way
