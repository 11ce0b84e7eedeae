"""How much memory a step allocates, also on a CPU."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel


class Allocated(TorchDispatchMode):
    """Counts the bytes of live tensors without the weights, and their peak."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self.alive: set[int] = set()
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self.follow(tensor.untyped_storage())
        self.peak = max(self.peak, self.bytes)
        return output

    def follow(self, storage: torch.UntypedStorage) -> None:
        """Count a storage until it is freed."""
        key = storage._cdata
        if key not in self.alive and storage.data_ptr() not in self.own:
            self.alive.add(key)
            self.bytes += storage.nbytes()
            weakref.finalize(storage, self.drop, key, storage.nbytes())

    def drop(self, key: int, count: int) -> None:
        """Stop counting a freed storage."""
        self.alive.discard(key)
        self.bytes -= count
