"""Vectors and the codes that are nearest to them."""

from __future__ import annotations

import torch

from isthmus.core.quantization import Codebook


def test_the_code_of_a_vector_does_not_depend_on_its_batch():
    # The codes are far from 0 and so close to each other that a matrix product's rounding is more.
    codebook = Codebook(codes=64, code_dim=4, decay=0.99, least_count=0.1).eval()
    generator = torch.Generator().manual_seed(0)
    codebook.codes.copy_(100.0 + 1e-3 * torch.randn(64, 4, generator=generator))
    vectors = 100.0 + 1e-3 * torch.randn(500, 4, generator=generator)
    together = codebook.nearest(vectors)
    alone = torch.cat([codebook.nearest(each) for each in vectors.split(1)])
    assert torch.equal(together, alone)
    exact = (vectors.double()[:, None] - codebook.codes.double()).square().sum(dim=2)
    assert torch.equal(together, exact.argmin(dim=1))
