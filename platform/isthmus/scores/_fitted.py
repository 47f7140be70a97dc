"""The base of modules that are fitted and stored, whose buffers have sizes that the data give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor, nn


class Fitted(nn.Module):
    """A module that finds its buffers when it is fitted, and can be restored from stored ones."""

    FITTED: ClassVar[tuple[str, ...]] = ()
    """The names of the buffers that fitting sets, without those of the parts."""

    def keep(self, name: str, tensor: Tensor) -> None:
        """Sets a buffer that fitting found."""
        self.register_buffer(name, tensor.detach().contiguous())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Sets the buffers from stored ones, also those of the parts.

        Args:
            state: The buffers by name; those of a part have its name and a dot before their own.

        Raises:
            RuntimeError: If one is missing or unknown.
        """
        expected = set(self._stored_names())
        if set(state) != expected:
            raise RuntimeError(f"the score needs {sorted(expected)} and finds {sorted(state)}")
        for name, tensor in state.items():
            part, _, buffer = name.rpartition(".")
            holder = self.get_submodule(part)
            assert isinstance(holder, Fitted)  # noqa: S101 (as _stored_names found)
            holder.keep(buffer, tensor)

    def _stored_names(self) -> Iterator[str]:
        for part, module in self.named_modules():
            if isinstance(module, Fitted):
                yield from (f"{part}.{name}" if part else name for name in module.FITTED)
