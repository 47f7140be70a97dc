"""Whether somebody notes what a net does, to do it elsewhere: an exporter, a compiler."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """If so, a net does what can be noted, and not what is quickest here."""
    return torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
