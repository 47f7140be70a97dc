"""Registered pairs as estimators of scikit-learn.

from isthmus.sklearn import AutoencoderDetector, Denoiser, Embedder

make_pipeline(Embedder("digits@champion"), LogisticRegression()).fit(images, labels)
AutoencoderDetector("payments@champion").fit(frame).predict(frame)
"""

from isthmus.sklearn.denoiser import Denoiser
from isthmus.sklearn.detector import AutoencoderDetector
from isthmus.sklearn.embedder import Embedder

__all__ = ["AutoencoderDetector", "Denoiser", "Embedder"]
