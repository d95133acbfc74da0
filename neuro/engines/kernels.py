"""The inner loops of delivery, compiled by numba.

``Wt`` is the transposed weight, (n_pre, n_post), so that the synapses of one neuron lie
side by side: a spike adds one row. Spikes of a step come as rows of a batch in compressed
form: those of replica r are ``col[ptr[r]:ptr[r + 1]]``. Sums are integers (or float64 for
networks without a grid), collected in a row that stays in the first-level cache.
"""

from __future__ import annotations

from typing import Any

import numba

jit: Any = numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")


@jit
def split(events, count, size, ptr, col, per_row, per_neuron):  # type: ignore[no-untyped-def]
    """Turn sorted flat events (replica * size + neuron) into ptr and col; count them by replica and neuron."""
    row = 0
    ptr[0] = 0
    base = 0
    for i in range(count):
        event = events[i]
        while event >= base + size:
            row += 1
            base += size
            ptr[row] = i
        neuron = event - base
        col[i] = neuron
        per_neuron[neuron] += 1
    for r in range(row + 1, len(ptr)):
        ptr[r] = count
    for r in range(len(per_row)):
        per_row[r] = ptr[r + 1] - ptr[r]


@jit
def integrate(v, rows, base, own, gain, Wt, ptr, col, acc):  # type: ignore[no-untyped-def]
    """Add base[row * own] and gain * (sum of the rows of Wt that spiked) to v[row]."""
    n = v.shape[1]
    for index in range(len(rows)):
        r = rows[index]
        first, last = ptr[r], ptr[r + 1]
        start = base[r * own]
        target = v[r]
        if first == last:
            for i in range(n):
                target[i] += start[i]
            continue
        for i in range(n):
            acc[i] = 0
        _gather(acc, Wt, col, first, last, n)
        for i in range(n):
            target[i] += start[i] + gain * acc[i]


@jit
def add_base(v, rows, base, own):  # type: ignore[no-untyped-def]
    """Add base[row * own] to v[row]."""
    for index in range(len(rows)):
        r = rows[index]
        start = base[r * own]
        target = v[r]
        for i in range(v.shape[1]):
            target[i] += start[i]


@jit
def _gather(acc, Wt, col, first, last, n):  # type: ignore[no-untyped-def]
    """acc += the rows of Wt listed in col[first:last], four at a time to spare loads and stores of acc."""
    s = first
    while s + 4 <= last:
        a, b, c, d = Wt[col[s]], Wt[col[s + 1]], Wt[col[s + 2]], Wt[col[s + 3]]
        for i in range(n):
            acc[i] += (acc.dtype.type(a[i]) + acc.dtype.type(b[i])) + (acc.dtype.type(c[i]) + acc.dtype.type(d[i]))
        s += 4
    while s < last:
        a = Wt[col[s]]
        for i in range(n):
            acc[i] += a[i]
        s += 1


@jit
def accumulate(v, rows, gain, Wt, ptr, col, acc):  # type: ignore[no-untyped-def]
    """Add gain * (sum of the rows of Wt that spiked) to v[row]."""
    n = v.shape[1]
    for index in range(len(rows)):
        r = rows[index]
        first, last = ptr[r], ptr[r + 1]
        if first == last:
            continue
        for i in range(n):
            acc[i] = 0
        _gather(acc, Wt, col, first, last, n)
        target = v[r]
        for i in range(n):
            target[i] += gain * acc[i]


@jit
def accumulate_graded(v, rows, gain, Wt, ptr, col, val):  # type: ignore[no-untyped-def]
    """The same for spikes with a value: bursts of ``val`` spikes, or -1 for a negative one."""
    n = v.shape[1]
    for index in range(len(rows)):
        r = rows[index]
        target = v[r]
        for s in range(ptr[r], ptr[r + 1]):
            weight = Wt[col[s]]
            factor = gain * val[s]
            for i in range(n):
                target[i] += factor * weight[i]


@jit
def accumulate_sparse(v, rows, gain, indptr, indices, data, ptr, col, val):  # type: ignore[no-untyped-def]
    """The same for a sparse weight in compressed columns: the synapses of neuron j are indptr[j]:indptr[j + 1]."""
    for index in range(len(rows)):
        r = rows[index]
        target = v[r]
        for s in range(ptr[r], ptr[r + 1]):
            factor = gain * val[s]
            for q in range(indptr[col[s]], indptr[col[s] + 1]):
                target[indices[q]] += factor * data[q]
