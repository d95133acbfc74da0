"""Convolution and pooling as sparse matrices, and the algebra of affine values.

A value of a network is kept as ``sum over earlier layers s of M_s a_s + c`` until a ReLU needs it; M_s may be the
identity (None), dense or sparse. Memory is checked before it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from neuro.network import Weight

Array = np.ndarray
INPUT = -1
# Index arrays of one channel of windows; beyond it they would take more memory than the map itself.
MAX_PATTERN = 1 << 22


class TooLarge(ValueError):
    """An unrolled map would hold more weights than allowed."""


@dataclass
class Budget:
    """How many stored weights may still be made by unrolling and by composing."""

    left: int

    def take(self, count: int) -> None:
        """Take ``count`` weights, or raise TooLarge."""
        if count > self.left:
            raise TooLarge(
                f"unrolled it holds {count:,} weights, {self.left:,} are left of max_synapses; raise max_synapses if memory allows"
            )
        self.left -= count


@dataclass(frozen=True, eq=False)
class Affine:
    """sum_s terms[s] @ a_s + offset, where a_s is the output of layer s (-1: the input) and None is the identity.

    Parameters
    ----------
    terms : {layer: (n, n_s) weight or None}.
    offset : (n,) float64 array.
    shape : shape of one sample; its product is n.
    channels : (n,) channel of each value of a convolution, or None.
    name, kind : the operation that gave the values, for reports.
    """

    terms: Mapping[int, Weight | None]
    offset: Array
    shape: tuple[int, ...]
    channels: Array | None = None
    name: str = ""
    kind: str = "dense"

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.offset)


def mapped(matrix: Weight, value: Affine, budget: Budget) -> Affine:
    """Return M value: every term and the offset multiplied from the left; the shape is flat."""
    terms = {s: matrix if m is None else product(matrix, m, budget) for s, m in value.terms.items()}
    offset = matrix @ value.offset if value.offset.any() else np.zeros(matrix.shape[0])
    return replace(value, terms=terms, offset=offset, shape=(matrix.shape[0],), channels=None)


def scaled(value: Affine, factor: Array, shift: Array, budget: Budget | None = None) -> Affine:
    """Return factor * value + shift, both of which broadcast to the value's shape; copies of weights are taken from the budget."""
    diagonal = np.broadcast_to(factor, value.shape).reshape(-1).astype(np.float64)
    plain = bool((diagonal == 1).all())
    if budget is not None and not plain:
        budget.take(sum(stored(m) for m in value.terms.values()))
    offset = diagonal * value.offset + np.broadcast_to(shift, value.shape).reshape(-1)
    if plain:
        return replace(value, offset=offset)
    terms = {}
    for s, m in value.terms.items():
        if m is None:
            terms[s] = sp.dia_array((diagonal[None, :], [0]), shape=(value.size, value.size)).tocsr()
        elif sp.issparse(m):
            data = m.data * np.repeat(diagonal, np.diff(m.indptr))
            terms[s] = sp.csr_array((data, m.indices, m.indptr), shape=m.shape)
        else:
            terms[s] = m * diagonal[:, None]
    return replace(value, terms=terms, offset=offset)


def added(a: Affine, b: Affine, sign: int = 1, budget: Budget | None = None) -> Affine:
    """Return a + b, or a - b for sign -1; shapes must agree."""
    if sign < 0:
        b = scaled(b, -np.ones(()), np.zeros(()), budget)
    terms = dict(a.terms)
    for s, m in b.terms.items():
        if s not in terms:
            terms[s] = m
            continue
        if budget is not None:
            budget.take(stored(terms[s]) + stored(m))
        left, right = (_explicit(part, a.size) for part in (terms[s], m))
        if sp.issparse(left) and sp.issparse(right):
            terms[s] = sp.csr_array(left + right)
        else:
            terms[s] = sum(part.toarray() if sp.issparse(part) else part for part in (left, right))
    same = a.channels is not None and b.channels is not None and np.array_equal(a.channels, b.channels)
    # A sum is called after the side that computes something, not after the shortcut.
    label = b if all(m is None for m in a.terms.values()) else a
    return replace(label, terms=terms, offset=a.offset + b.offset, channels=a.channels if same else None)


def selected(value: Affine, index: Array, shape: tuple[int, ...], budget: Budget) -> Affine:
    """Return the values at ``index`` (-1 gives zero): transposition, padding, slicing."""
    inside = index >= 0
    budget.take(int(inside.sum()))
    rows = np.flatnonzero(inside)
    matrix = sp.csr_array((np.ones(len(rows)), (rows, index[inside])), shape=(len(index), value.size))
    channels = None if value.channels is None or not inside.all() else value.channels[index]
    return replace(mapped(matrix, value, budget), shape=shape, channels=channels)


def stacked(values: Sequence[Affine], axis: int, budget: Budget) -> Affine:
    """Return the values joined along an axis of their shape."""
    shapes = [v.shape for v in values]
    ends = [v.size for v in values]
    starts = np.cumsum([0, *ends])
    index = np.concatenate([np.arange(n).reshape(s) + o for n, s, o in zip(ends, shapes, starts, strict=False)], axis)
    total: Affine | None = None
    for value, start in zip(values, starts, strict=False):
        budget.take(value.size)
        rows = start + np.arange(value.size)
        place = sp.csr_array((np.ones(value.size), (rows, np.arange(value.size))), shape=(index.size, value.size))
        part = mapped(place, value, budget)
        total = part if total is None else added(total, part, budget=budget)
    assert total is not None
    return replace(selected(total, index.reshape(-1), index.shape, budget), name=values[0].name, kind=values[0].kind)


def stored(matrix: Weight | None) -> int:
    """Return how many weights a matrix holds; the identity holds none."""
    if matrix is None:
        return 0
    return int(matrix.nnz if sp.issparse(matrix) else matrix.size)


def product(a: Weight, b: Weight, budget: Budget) -> Weight:
    """Return a b, sparse if both are; the size of the result is checked first."""
    if sp.issparse(a) and sp.issparse(b):
        budget.take(int(np.diff(b.indptr)[a.indices].sum(dtype=np.int64)))
        return sp.csr_array(a @ b)
    budget.take(a.shape[0] * b.shape[1])
    if sp.issparse(b):
        return np.asarray((b.T.astype(np.float64) @ np.asarray(a, dtype=np.float64).T).T)
    left = a if sp.issparse(a) else np.asarray(a, dtype=np.float64)
    return np.asarray(left @ np.asarray(b, dtype=np.float64))


def _explicit(matrix: Weight | None, size: int) -> Weight:
    return sp.eye_array(size, format="csr") if matrix is None else matrix


# -- convolution and pooling ------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or pooling lie, one entry per spatial axis.

    ``padding`` holds (before, after) of each axis.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    def out(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial shape of the result; raise ValueError where there is no window."""
        axes = len(spatial)
        if any(len(part) != axes for part in (self.kernel, self.stride, self.padding, self.dilation)):
            raise ValueError(f"has {len(self.kernel)} spatial axes, its input {tuple(spatial)} has {axes}")
        if min((*self.kernel, *self.stride, *self.dilation)) < 1 or min(min(p) for p in self.padding) < 0:
            raise ValueError(f"kernel {self.kernel}, stride {self.stride}, padding {self.padding}, dilation {self.dilation}")
        sizes = tuple(
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, k, s, (lo, hi), d in zip(spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        if min(sizes) < 1:
            raise ValueError(f"its window {self.kernel} is larger than its input {tuple(spatial)}")
        return sizes


def same_padding(spatial: Sequence[int], windows: Windows, upper: bool = True) -> Windows:
    """Return the windows padded so that the result has ceil(n / stride) positions; the odd one goes to the end."""
    pads = []
    for n, k, s, d in zip(spatial, windows.kernel, windows.stride, windows.dilation, strict=True):
        total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if upper else (large, small))
    return replace(windows, padding=tuple(pads))


def positions(spatial: Sequence[int], windows: Windows) -> tuple[Array, Array, Array]:
    """Return (s, k, i): output position, kernel position and input position of every overlap, ordered by s, k.

    Raises
    ------
    TooLarge : the index arrays would take more memory than allowed.
    """
    check_pattern(overlaps(spatial, windows))
    out = windows.out(spatial)
    axes = len(spatial)
    flat_in = np.zeros((1,) * (2 * axes), dtype=np.int64)
    inside = np.ones((1,) * (2 * axes), dtype=bool)
    for axis, (n, m, k, s, (lo, _), d) in enumerate(
        zip(spatial, out, windows.kernel, windows.stride, windows.padding, windows.dilation, strict=True)
    ):
        where = np.arange(m)[:, None] * s - lo + np.arange(k) * d
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = m, k
        flat_in = flat_in * n + where.reshape(shape)
        inside = inside & ((where >= 0) & (where < n)).reshape(shape)
    inside = inside.reshape(math.prod(out), math.prod(windows.kernel))
    position, element = np.nonzero(inside)
    return position, element, flat_in.reshape(inside.shape)[inside]


def overlaps(spatial: Sequence[int], windows: Windows) -> int:
    """Return the most overlaps that ``positions`` can hold, without making them."""
    return math.prod(windows.out(spatial)) * math.prod(windows.kernel)


def check_pattern(count: int) -> None:
    """Raise TooLarge where index arrays of windows would be too long."""
    if count > MAX_PATTERN:
        raise TooLarge(f"its windows overlap its input {count:,} times, at most {MAX_PATTERN:,} are taken; use smaller images")


def convolution(
    weight: Array, shape: tuple[int, ...], windows: Windows, groups: int, budget: Budget, channels_last: bool = False
) -> tuple[sp.csr_array, tuple[int, ...], Array]:
    """Return (matrix, output shape, channel of each output) of a convolution (cross-correlation).

    weight : (n_out, n_in / groups, *kernel) array.
    shape : (n_in, *spatial), or (*spatial, n_in) with ``channels_last``.
    """
    n_out, per_group = weight.shape[:2]
    n_in, spatial = (shape[-1], shape[:-1]) if channels_last else (shape[0], shape[1:])
    if groups < 1 or n_in != per_group * groups or n_out % groups:
        raise ValueError(f"takes {per_group * groups} channels in {groups} groups, its input {shape} has {n_in}")
    out = windows.out(spatial)
    budget.take(overlaps(spatial, windows) * n_out * per_group)
    check_pattern(overlaps(spatial, windows) * per_group)
    s_in, s_out = math.prod(spatial), math.prod(out)
    position, element, source = positions(spatial, windows)
    # One row pattern serves all output channels of a group; within a row the columns are put in order once.
    columns = (np.arange(per_group)[:, None] * s_in + source).reshape(-1)
    rows = np.tile(position.astype(np.int32), per_group)
    taken = (np.arange(per_group)[:, None] * math.prod(windows.kernel) + element).reshape(-1)
    order = np.argsort(rows, kind="stable")  # columns of a row are in order already: channel by channel, element by element
    columns, taken = columns[order].astype(np.int32), taken[order]
    counts = np.bincount(rows, minlength=s_out)
    flat = weight.reshape(n_out, -1)
    shift = np.repeat(np.arange(groups, dtype=np.int32) * (per_group * s_in), n_out // groups)
    matrix = sp.csr_array(
        (
            flat[:, taken].reshape(-1),
            (columns[None, :] + shift[:, None]).reshape(-1),
            np.concatenate([[0], np.cumsum(np.tile(counts, n_out))]),
        ),
        shape=(n_out * s_out, n_in * s_in),
    )
    channels = np.repeat(np.arange(n_out), s_out)
    if not channels_last:
        return matrix, (n_out, *out), channels
    return _channels_last(matrix, n_in, s_in, n_out, s_out), (*out, n_out), np.tile(np.arange(n_out), s_out)


def average_pool(
    shape: tuple[int, ...], windows: Windows, count_padding: bool, budget: Budget, channels_last: bool = False
) -> tuple[sp.csr_array, tuple[int, ...], Array]:
    """Return (matrix, output shape, channel of each output) of average pooling.

    ``count_padding``: divide by the size of the window also where it reaches over the edge.
    """
    n, spatial = (shape[-1], shape[:-1]) if channels_last else (shape[0], shape[1:])
    out = windows.out(spatial)
    budget.take(overlaps(spatial, windows) * n)
    s_in, s_out = math.prod(spatial), math.prod(out)
    position, _, source = positions(spatial, windows)
    counts = np.bincount(position, minlength=s_out)
    if (counts == 0).any():
        raise ValueError("a window lies wholly in the padding")
    share = np.full(len(position), 1.0 / math.prod(windows.kernel)) if count_padding else (1.0 / counts)[position]
    one = sp.csr_array((share, (position, source)), shape=(s_out, s_in))
    matrix = sp.csr_array(sp.kron(sp.eye_array(n, format="csr"), one, format="csr"))
    channels = np.repeat(np.arange(n), s_out)
    if not channels_last:
        return matrix, (n, *out), channels
    return _channels_last(matrix, n, s_in, n, s_out), (*out, n), np.tile(np.arange(n), s_out)


def adaptive_pool(shape: tuple[int, ...], out: tuple[int, ...], budget: Budget) -> tuple[sp.csr_array, tuple[int, ...], Array]:
    """Return (matrix, output shape, channel of each output): bin i of m covers floor(i n / m) to ceil((i + 1) n / m)."""
    spatial = shape[1:]
    if len(out) != len(spatial) or min(out, default=0) < 1 or any(m > n for m, n in zip(out, spatial, strict=True)):
        raise ValueError(f"pools shape {shape} to {out}, expected at most as many bins as values on each axis")
    budget.take(shape[0] * math.prod(n + 2 * m for n, m in zip(spatial, out, strict=True)))
    matrix = sp.eye_array(shape[0], format="csr")
    for n, m in zip(spatial, out, strict=True):
        low, high = np.arange(m) * n // m, -(-(np.arange(1, m + 1) * n) // m)
        counts = high - low
        columns = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)])
        share = np.repeat(1.0 / counts, counts)
        axis = sp.csr_array((share, columns, np.concatenate([[0], np.cumsum(counts)])), shape=(m, n))
        matrix = sp.csr_array(sp.kron(matrix, axis, format="csr"))
    return matrix, (shape[0], *out), np.repeat(np.arange(shape[0]), math.prod(out))


def _channels_last(matrix: sp.csr_array, n_in: int, s_in: int, n_out: int, s_out: int) -> sp.csr_array:
    """Return the matrix with rows and columns reordered from (channel, position) to (position, channel)."""
    rows = np.arange(n_out * s_out).reshape(n_out, s_out).T.reshape(-1)
    columns = np.arange(n_in * s_in).reshape(s_in, n_in).T.reshape(-1).astype(np.int32)
    moved = sp.csr_array(matrix[rows])
    result = sp.csr_array((moved.data, columns[moved.indices], moved.indptr), shape=matrix.shape)
    result.sort_indices()
    return result
