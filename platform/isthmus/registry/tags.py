"""The tags that make a pair's versions quick to list. The source of truth is `pair.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from isthmus.bundle.manifest import Half, PairManifest

PAIR_ID = "isthmus.pair_id"
PAIR_NAME = "isthmus.pair"
HALF = "isthmus.half"
DECODER_VERSION = "isthmus.decoder_version"
COPY = "isthmus.copy_of"
"""The version that *Promote model* copied this one from. It is set once the copy is processed."""
VARIANT = "isthmus.variant"
NET = "isthmus.net"
LATENT_DIM = "isthmus.latent_dim"
LATENTS_OF = "isthmus.latents_of"
"""The older version to whose latents the pair's own can be mapped."""
VERDICT = "isthmus.verdict"
"""The gate's last verdict on a version."""
LET_BY_GATE = "isthmus.gate_let"
"""The ground on which a version may be champion."""
LetBy = Literal["passed", "forced", "chosen", "not"]
"""It passed the gate, a person forced it, or a person chose it where the gate was undecided."""
_LATENT_ERROR = "isthmus.latent_error"
_METRICS = "isthmus.metrics"


def of_version(manifest: PairManifest, half: Half) -> dict[str, str]:
    """Returns the tags of a half's model version."""
    return {
        PAIR_ID: manifest.pair_id,
        HALF: half,
        VARIANT: manifest.plan.variant.name,
        NET: manifest.plan.net.name,
        LATENT_DIM: str(manifest.plan.latent_dim),
        _METRICS: json.dumps(dict(manifest.metrics)),
        **_of_compatibility(manifest),
    }


def is_let_by_gate(tags: Mapping[str, str]) -> bool:
    """Returns whether the gate, or a person who answers for it, let a version be champion."""
    # Versions of an older Isthmus have the verdict alone.
    by = tags.get(LET_BY_GATE, tags.get(VERDICT))
    return by in ("passed", "forced", "chosen")


def _of_compatibility(manifest: PairManifest) -> dict[str, str]:
    said = manifest.compatibility
    if said is None:
        return {}
    errors = {f"{_LATENT_ERROR}.{kind}": f"{error:.6g}" for kind, error in said.errors.items()}
    return {LATENTS_OF: said.champion, **errors}


def metrics_in(tags: Mapping[str, str]) -> dict[str, float]:
    """Returns the metrics that `of_version` stored."""
    return {name: float(value) for name, value in json.loads(tags.get(_METRICS, "{}")).items()}
