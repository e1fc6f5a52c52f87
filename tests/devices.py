"""A second device without a GPU: it computes on the CPU, and minds what a GPU minds. Tests import it as ``devices``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

__all__ = ["DEVICE", "SecondDevice", "second_device"]

aten = torch.ops.aten
HERE, DEVICE = torch.device("cpu"), torch.device("lazy")
"""One that torch knows and gradients pass, and of which no build of it has kernels."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
FILLING = {aten.fill, aten.fill_, aten.masked_fill, aten.masked_fill_, *INDEXED}
"""Which take a single number from the CPU, as what goes value by value does."""
CHECKING = {aten._linalg_svd, aten._linalg_eigh, aten.linalg_pinv, aten._linalg_check_errors}
"""Which look whether they came to an end."""


class Away(Tensor):
    """A tensor on the device, whose numbers are ``inner``."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        laid = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made: Away = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=DEVICE, **laid)
        made.inner = inner
        return made

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Away) -> None:
        Tensor.data.__set__(self, other)
        self.inner = other.inner

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"{DEVICE.type} {self.inner!r}"

    def new_tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError("The second device is not there any more.")


class SecondDevice(TorchDispatchMode):
    """The device, while it is there. Tensors meet others of it alone, or value by value single numbers; CPU tensors
    may be indices."""

    waits = 0
    """How often a GPU has the CPU wait: for each look at numbers, and for each CPU tensor that is brought."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if not types and given.get("device") != DEVICE:
            return func(*args, **given)
        leaves, tree = tree_flatten((args, given))
        tensors = [one for one in leaves if isinstance(one, Tensor)]
        away = {id(one.inner): one for one in tensors if isinstance(one, Away)}
        to = given.get("device") or (DEVICE if away else HERE)
        if func in (aten._to_copy.default, aten.copy_.default):
            to = to if func is aten._to_copy.default else args[0].device
            self.waits += any(one.device != to for one in tensors)
        else:
            at = [one for one in args[1] if one is not None] if func.overloadpacket in INDEXED else []
            brought = {id(one) for one in at if one.device != args[0].device == DEVICE}
            least = int(torch.Tag.pointwise in func.tags or func.overloadpacket in FILLING)
            mixed = [one for one in tensors if one.ndim >= least and one.device == HERE and id(one) not in brought]
            if (away and mixed) or given.get("generator") is not None:
                raise RuntimeError(f"Expected all tensors to be on the same device, but {func} is given some of two.")
            told = not at and {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*func.tags}
            checks = func.overloadpacket in CHECKING
            self.waits += len(brought) + bool(told or checks or any(one.dtype == torch.bool for one in at))
        leaves = [HERE if isinstance(one, torch.device) else one for one in leaves]
        args, given = tree_unflatten([one.inner if isinstance(one, Away) else one for one in leaves], tree)
        made = func(*args, **given)
        if to == HERE:
            return made
        return tree_map_only(Tensor, lambda one: away[id(one)] if id(one) in away else Away(one), made)


class Making(TorchFunctionMode):
    """What makes tensors of numbers makes them on the CPU, and brings them from there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            at = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(torch.tensor(one) if isinstance(one, list) else one for one in at), *args[2:])
        if func in (torch.tensor, torch.as_tensor) and given.get("device") == DEVICE:
            return func(*args, **{**given, "device": HERE}).to(DEVICE)
        return func(*args, **given)


@contextmanager
def second_device() -> Iterator[SecondDevice]:
    """`DEVICE` works while it lasts, without automatic mixed precision."""
    with mock.patch.object(torch, "autocast", return_value=nullcontext()), Making(), SecondDevice() as device:
        yield device
