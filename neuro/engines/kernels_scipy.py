"""The inner loops of delivery in NumPy and SciPy, for where numba is absent; same names, same results.

SciPy sums in the type of its operands (int8 would wrap), so weights come here in 64 bits.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

Array = np.ndarray


def split(events: Array, count: int, size: int, ptr: Array, col: Array, per_row: Array, per_neuron: Array) -> None:
    """Turn sorted flat events (replica * size + neuron) into ptr and col; count them by replica and neuron."""
    row, neuron = np.divmod(events[:count], size)
    col[:count] = neuron
    per_row[:] = np.bincount(row, minlength=len(per_row))
    per_neuron += np.bincount(neuron, minlength=size)
    ptr[0] = 0
    np.cumsum(per_row, out=ptr[1:])


def split_graded(
    events: Array, count: int, size: int, values: Array, ptr: Array, col: Array, val: Array, per_row: Array, per_neuron: Array
) -> None:
    """``split`` for spikes with a value: every event counts as often as its magnitude."""
    row, neuron = np.divmod(events[:count], size)
    col[:count], val[:count] = neuron, values[events[:count]]
    much = np.abs(val[:count])
    # Sums of bincount are float64: exact far beyond what a step can send.
    per_row[:] = np.bincount(row, weights=much, minlength=len(per_row))
    per_neuron += np.bincount(neuron, weights=much, minlength=size).astype(np.int64)
    ptr[0] = 0
    np.cumsum(np.bincount(row, minlength=len(per_row)), out=ptr[1:])


def add_base(v: Array, rows: Array, base: Array, own: int) -> None:
    """Add base[row * own] to v[row]."""
    v[rows] += base[rows * own].astype(v.dtype)


def integrate(
    v: Array, rows: Array, base: Array, own: int, gain: int, Wt: Array, ptr: Array, col: Array, *scratch: Array | int
) -> None:
    """Add base[row * own] and gain * (sum of the rows of Wt that spiked) to v[row]."""
    add_base(v, rows, base, own)
    accumulate(v, rows, gain, Wt, ptr, col)


def accumulate(v: Array, rows: Array, gain: int, Wt: Array, ptr: Array, col: Array, *scratch: Array | int) -> None:
    """Add gain * (sum of the rows of Wt that spiked) to v[row]."""
    accumulate_graded(v, rows, gain, Wt, ptr, col, np.ones(ptr[-1], Wt.dtype))


def accumulate_graded(v: Array, rows: Array, gain: int, Wt: Array, ptr: Array, col: Array, val: Array) -> None:
    """The same for spikes with a value."""
    v[rows] += (gain * (spike_matrix(ptr, col, val, Wt.dtype, len(Wt)) @ Wt)[rows]).astype(v.dtype)


def accumulate_sparse(
    v: Array, rows: Array, gain: int, indptr: Array, indices: Array, data: Array, ptr: Array, col: Array, val: Array
) -> None:
    """The same for a sparse weight in compressed columns."""
    n_pre = len(indptr) - 1
    right = sp.csr_array((data, indices, indptr), shape=(n_pre, v.shape[1]))
    v[rows] += (gain * (spike_matrix(ptr, col, val, data.dtype, n_pre) @ right).toarray()[rows]).astype(v.dtype)


def spike_matrix(ptr: Array, col: Array, val: Array, dtype: np.dtype, n_pre: int) -> sp.csr_array:
    """Return the spikes of a step as a (replicas, n_pre) csr_array."""
    total = ptr[-1]
    return sp.csr_array((val[:total].astype(dtype), col[:total], ptr), shape=(len(ptr) - 1, n_pre))
