"""What a version must stand up to before it may be champion: a job file's `promotion` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isthmus.spec.model import SpecModel


class PromotionSpec(SpecModel):
    """The bounds of the gate; a version keeps those that its job had when it was trained.

    A bound is met if the whole 95 % interval is within it, and missed if the whole interval is
    beyond it. What lies between cannot be told from so few rows: it is undecided, and only a person
    may promote it.
    """

    policy: Literal["enforce", "warn"] = "enforce"
    """What follows if the gate does not pass it. `enforce`: the version does not become champion.
    `warn`: it does, and the verdict on it says what is wrong."""
    beat_pca: bool = True
    """Whether its error on held-out rows must be shown to be below PCA's at the same latent size.
    Turn it off for what is above PCA on purpose: beta_vae, beta_tcvae, hierarchical, sparse,
    masked, noise2void."""
    max_error_increase: float = Field(default=0.02, ge=0.0)
    """How much higher its reconstruction error may be, as a share of the champion's."""
    max_auroc_drop: float = Field(default=0.01, ge=0.0, le=1.0)
    """How much lower its AUROC may be, held-out rows against rows with other labels; where the job
    has `data.keep_labels`."""
    max_psnr_drop_db: float = Field(default=0.2, ge=0.0)
    """How many dB less of PSNR it may gain on noised held-out rows; for variants that take noise
    away."""
    max_explained_variance_drop: float = Field(default=0.01, ge=0.0)
    """How much less of the rows' variance it may keep, as a share of all; where the job is neither
    to detect nor to denoise."""
    max_false_positive_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of held-out rows that may be above its threshold, which is set for 0.01; where the
    champion's is higher, as many as that."""
    max_p_value_distance: float = Field(default=0.25, ge=0.0, le=1.0)
    """How far the p-values of held-out rows may be from uniform, by the largest distance of the
    distributions (Kolmogorov-Smirnov); where the champion's are further, as far as that."""
    max_latency_ratio: float = Field(default=3.0, gt=0.0)
    """How many times as long as the champion it may take for a row, encoded and decoded."""
    max_size_ratio: float = Field(default=4.0, gt=0.0)
    """How many times as many bytes of weights as the champion it may have."""
    max_compatibility_error: float | None = Field(default=None, ge=0.0)
    """Share of the variance of the champion's latents that the best map from its own leaves
    unexplained; for those who have stored latents. By default its latents may be anything."""
