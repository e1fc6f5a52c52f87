"""Maps that were computed already, by the content of their image."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable

import torch
from torch import Tensor

__all__ = ["MapCache", "content_keys"]


class MapCache:
    """The maps that were used last, up to so many megabytes.

    Args:
        megabytes: the bound; 0 keeps none.
    """

    def __init__(self, megabytes: float) -> None:
        self.limit = int(megabytes * 2**20)
        self.size = 0
        self._maps: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, key: Hashable) -> Tensor | None:
        """The map under that key, or None."""
        found = self._maps.get(key)
        if found is not None:
            self._maps.move_to_end(key)
        return found

    def put(self, key: Hashable, found: Tensor) -> None:
        """Keep a map; those unused for longest go where it would become too much."""
        self._drop(key)
        self._maps[key] = found.clone()  # Not a view, which would keep its whole batch.
        self.size += found.nbytes
        while self.size > self.limit:
            self._drop(next(iter(self._maps)))

    def _drop(self, key: Hashable) -> None:
        if key in self._maps:
            self.size -= self._maps.pop(key).nbytes


def content_keys(images: Tensor, rows: Tensor | None = None) -> list[Hashable]:
    """A key for each image (N, C, H, W) and its row (N, K): equal for equal values, shape and type alone."""
    tensors = [tensor.detach().cpu().contiguous() for tensor in (images, rows) if tensor is not None]
    keys: list[Hashable] = []
    for sample in zip(*tensors):
        digest = hashlib.blake2b(digest_size=16)
        for tensor in sample:
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.view(torch.uint8).numpy())
        keys.append(digest.digest())
    return keys
