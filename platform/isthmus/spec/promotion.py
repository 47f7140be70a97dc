"""Defines the `promotion` section of a job file: the bounds that a new champion must meet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from isthmus.spec.model import SpecModel


class PromotionSpec(SpecModel):
    """The bounds of the gate. A version keeps the bounds that its job had when it was trained.

    A bound is met if the whole 95 % interval is within it, and missed if the whole interval is
    beyond it. What lies between cannot be told from so few rows: it is undecided, and only a person
    may promote it.
    """

    policy: Literal["enforce", "warn"] = "enforce"
    """The consequence if the gate does not pass a version. With `enforce` the version does not
    become champion. With `warn` it does, and its verdict names the checks that it failed."""
    beat_pca: bool = True
    """Whether the error on held-out rows must be shown to be below that of PCA with the same latent
    size; for variants that denoise, on rows with noise. Nothing is asked where the latent is as
    large as a row, of which PCA would lose nothing. Turn it off for variants that are above PCA on
    purpose: beta_vae, beta_tcvae, hierarchical, sparse, masked, noise2void."""
    must_denoise: bool = True
    """Whether a version of a variant that denoises must be shown to make held-out rows with noise
    better, not worse. Turn it off for pairs that are trained so but are to detect or to embed."""
    beat_filter: bool = False
    """Whether such a version must be shown to do so better than a classical filter: non-local means
    for images, a Wiener filter for series and audio. The gate shows both in any case."""
    max_error_increase: float = Field(default=0.02, ge=0.0)
    """The largest increase of the reconstruction error, or of the error of denoised rows, as a
    fraction of the champion's."""
    max_auroc_drop: float = Field(default=0.01, ge=0.0, le=1.0)
    """The largest decrease of the AUROC, of held-out rows against rows with other labels, for jobs
    with `data.keep_labels`."""
    max_psnr_drop_db: float = Field(default=0.2, ge=0.0)
    """The largest decrease, in dB, of what is gained on noisy held-out rows (PSNR of images, SI-SDR
    of series and audio), for variants that denoise."""
    max_explained_variance_drop: float = Field(default=0.01, ge=0.0)
    """The largest decrease of the explained variance, as a fraction of the rows' variance, for jobs
    that neither detect nor denoise."""
    max_false_positive_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """The largest fraction of held-out rows above the threshold, which is set for 0.01. If the
    champion's fraction is larger, or the smallest that the calibration rows resolve, that one is
    the bound."""
    max_p_value_distance: float = Field(default=0.25, ge=0.0, le=1.0)
    """The largest Kolmogorov-Smirnov distance between the p-values of held-out rows and the uniform
    distribution. If the champion's distance is larger, that one is the bound."""
    max_latency_ratio: float = Field(default=3.0, gt=0.0)
    """The largest ratio of the time to encode and decode a row to the champion's time."""
    max_size_ratio: float = Field(default=4.0, gt=0.0)
    """The largest ratio of the weights' bytes to the champion's."""
    max_compatibility_error: float | None = Field(default=None, ge=0.0)
    """The largest fraction of the variance of the champion's latents that the best map to them may
    leave unexplained, for users who store latents. By default there is no bound."""
