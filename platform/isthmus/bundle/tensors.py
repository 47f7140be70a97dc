"""Reads the tensors of an artifact, which others may have written."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from isthmus.errors import RegistryError


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        RegistryError: If it is missing, or no whole safetensors file: a header that is too large,
            is no JSON, or names other bytes than the file has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
    # torch raises the latter two for shapes and types that it does not have.
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RegistryError(
            f"{file} is damaged: it cannot be read as safetensors ({reason}); restore it, or "
            "register the pair again"
        ) from error
    return tensors
