"""The affine nodes of NIR as operations of the importers' common graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import graph as g
from .affine_maps import Windows
from .nir_file import NirNode

AFFINE = ("Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")


def operation(node: NirNode, shape: tuple[int, ...]) -> Any:
    """Return the operation of an affine node; raise ValueError where its parameters make no sense."""
    match node.kind:
        case "Affine" | "Linear":
            weight = node.array("weight")
            if weight.ndim != 2:
                raise ValueError(f"its weight has shape {weight.shape}, expected (n_out, n_in)")
            bias = node.array("bias").reshape(-1) if node.kind == "Affine" else None
            return g.Linear(weight, bias)
        case "Scale":
            scale = node.array("scale")
            if scale.size == int(np.prod(shape)):
                scale = scale.reshape(shape)
            return g.Scale(scale, np.zeros(()))
        case "Conv1d" | "Conv2d":
            return _convolution(node, 1 if node.kind == "Conv1d" else 2)
        case "SumPool2d":
            return g.SumPool(_windows(node, node.integers("kernel_size", 2), 2))
        case "AvgPool2d":
            return g.AveragePool(_windows(node, node.integers("kernel_size", 2), 2), count_padding=True)
        case _:
            return g.Reshape(_flat(node, shape))


def _convolution(node: NirNode, axes: int) -> g.Conv:
    weight = node.array("weight")
    if weight.ndim != axes + 2:
        raise ValueError(f"its weight has shape {weight.shape}, expected (n_out, n_in, {', '.join(['k'] * axes)})")
    bias = node.array("bias").reshape(-1) if node.values.get("bias") is not None else None
    if bias is not None and bias.size != weight.shape[0]:
        raise ValueError(f"its bias has {bias.size} values, expected {weight.shape[0]}")
    padding = node.values.get("padding")
    named = padding if isinstance(padding, str) else ""
    if named not in ("", "same", "valid"):
        raise ValueError(f"its padding is {named!r}, expected whole numbers, 'same' or 'valid'")
    (groups,) = node.integers("groups", 1)
    windows = _windows(node, tuple(weight.shape[2:]), axes, named != "")
    return g.Conv(weight, bias, windows, groups, same="upper" if named == "same" else "")


def _windows(node: NirNode, kernel: tuple[int, ...], axes: int, named: bool = False) -> Windows:
    padding = (0,) * axes if named else node.integers("padding", axes)
    dilation = node.integers("dilation", axes) if "dilation" in node.values else (1,) * axes
    return Windows(kernel, node.integers("stride", axes), tuple((p, p) for p in padding), dilation)


def _flat(node: NirNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape behind a Flatten; its axes count from the first after the batch."""
    (start,), (end,) = node.integers("start_dim", 1), node.integers("end_dim", 1)
    rank = len(shape)
    start, end = (d + rank if d < 0 else d for d in (start, end))
    if not 0 <= start <= end < rank:
        # nir's own default is start_dim=1 of a flat sample: there is nothing to join.
        if rank == 1 and start in (0, 1):
            return shape
        raise ValueError(f"joins axes {start} to {end} of shape {shape}")
    return (*shape[:start], int(np.prod(shape[start : end + 1])), *shape[end + 1 :])


__all__ = ["AFFINE", "operation"]
