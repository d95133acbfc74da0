"""The inner loops of delivery, compiled by numba.

``Wt`` is the transposed weight, (n_pre, n_post), so that the synapses of one neuron lie
side by side: a spike adds one row. Spikes of a step come as rows of a batch in compressed
form: those of replica r are ``col[ptr[r]:ptr[r + 1]]``. Sums are integers (or float64 for
networks without a grid), collected in a row that stays in the first-level cache. Rows of
``Wt``, ``acc`` and ``small`` may be longer than those of ``v``, with zeros at the end, so
that loops over them need no remainder.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

BLOCK = 64  # neurons whose flags become one mask
IN_VAIN = 8
ONE = np.uint64(1)

jit: Any = numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")


@intrinsic
def _mask(context, flags, first):  # type: ignore[no-untyped-def]
    """Bit i is set where flags[first + i] is not 0: a vector instruction or two for 64 bytes, which loops are not turned into."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        kind = ir.VectorType(ir.IntType(8), BLOCK)
        at = builder.bitcast(builder.gep(array.data, [arguments[1]]), kind.as_pointer())
        loaded = builder.load(at, align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", loaded, ir.Constant(kind, None)), ir.IntType(BLOCK))

    return numba.uint64(flags, numba.int64), generate


@intrinsic
def _ones(context, mask):  # type: ignore[no-untyped-def]
    """Return the number of bits that are set."""
    return numba.int64(numba.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


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
def split_graded(events, count, size, values, ptr, col, val, per_row, per_neuron):  # type: ignore[no-untyped-def]
    """``split`` for spikes with a value: ``values`` by flat event go to val, and every event counts as often as its magnitude."""
    row, base, within = 0, 0, 0
    ptr[0] = 0
    for i in range(count):
        event = events[i]
        while event >= base + size:
            per_row[row] = within
            within = 0
            row += 1
            base += size
            ptr[row] = i
        neuron, value = event - base, values[event]
        col[i], val[i] = neuron, value
        per_neuron[neuron] += abs(value)
        within += abs(value)
    per_row[row] = within
    for r in range(row + 1, len(ptr)):
        ptr[r] = count
    for r in range(row + 1, len(per_row)):
        per_row[r] = 0


@jit
def integrate(v, rows, base, own, gain, Wt, ptr, col, acc, small, chunk):  # type: ignore[no-untyped-def]
    """Add base[row * own] and gain * (sum of the rows of Wt that spiked) to v[row]."""
    for index in range(len(rows)):
        r = rows[index]
        _integrate(v[r], base[r * own], gain, Wt, col, ptr[r], ptr[r + 1], acc, small, chunk)


@jit
def integrate_fire(  # type: ignore[no-untyped-def]
    v, rows, base, own, gain, Wt, ptr, col, acc, small, chunk, rule, out_ptr, out_col, flags, recent, per_row, per_neuron
):
    """``integrate`` and ``fire`` while the row is in the first-level cache; return the number of spikes."""
    bounded, floor, ceiling, least, drop, zero = rule
    k, following, counted = 0, 0, 0
    for index in range(len(rows)):
        r = rows[index]
        _integrate(v[r], base[r * own], gain, Wt, col, ptr[r], ptr[r + 1], acc, small, chunk)
        following = _silent(out_ptr, per_row, following, r, k)
        if bounded:
            _bound(v[r], floor, ceiling)
        before = k
        k = _fire(v[r], least, drop, zero, flags, out_col, k)
        per_row[r] = k - before
        counted = _count(flags, recent, per_neuron, counted)
    _silent(out_ptr, per_row, following, len(per_row), k)
    _add_counts(recent, per_neuron)
    return k


@jit
def fire(v, rows, base, own, adding, rule, out_ptr, out_col, flags, recent, per_row, per_neuron):  # type: ignore[no-untyped-def]
    """Bound, fire and reset, after adding base[row * own] where asked for: the spikes of v[rows] as ptr and col, counted.

    ``rule``: (bounded, floor, ceiling, least potential that fires, theta, reset to zero), one value a neuron each.
    ``flags`` and ``recent``: a byte a neuron, in whole blocks, zero at the beginning. Return the number of spikes.
    """
    bounded, floor, ceiling, least, drop, zero = rule
    k, following, counted = 0, 0, 0
    for index in range(len(rows)):
        r = rows[index]
        following = _silent(out_ptr, per_row, following, r, k)
        if adding:
            start = base[r * own]
            target = v[r]
            for i in range(len(target)):
                target[i] += start[i]
        if bounded:
            _bound(v[r], floor, ceiling)
        before = k
        k = _fire(v[r], least, drop, zero, flags, out_col, k)
        per_row[r] = k - before
        counted = _count(flags, recent, per_neuron, counted)
    _silent(out_ptr, per_row, following, len(per_row), k)
    _add_counts(recent, per_neuron)
    return k


@jit
def _integrate(target, start, gain, Wt, col, first, last, acc, small, chunk):  # type: ignore[no-untyped-def]
    n = len(target)
    if first == last:
        for i in range(n):
            target[i] += start[i]
        return
    _gather(acc, small, chunk, Wt, col, first, last)
    for i in range(n):
        target[i] += start[i] + gain * acc[i]


@jit
def _bound(target, floor, ceiling):  # type: ignore[no-untyped-def]
    for i in range(len(target)):
        target[i] = min(max(target[i], floor[i]), ceiling[i])


@jit
def _fire(target, least, drop, zero, flags, col, k):  # type: ignore[no-untyped-def]
    """Compare and reset all neurons at once, then list those that fired in col[k:]; return the end of the list."""
    # One loop for each reset, so that both become vector instructions.
    if zero:
        for i in range(len(target)):
            fired = target[i] >= least[i]
            flags[i] = fired
            target[i] = target.dtype.type(0) if fired else target[i]
    else:
        for i in range(len(target)):
            fired = target[i] >= least[i]
            flags[i] = fired
            target[i] = (target[i] - drop[i]) if fired else target[i]
    for first in range(0, len(flags), BLOCK):
        mask = _mask(flags, first)
        end = k + _ones(mask)
        # A few always, though they may lie beyond the end: a branch on a number that changes is dearer than writing in vain.
        for _ in range(IN_VAIN):
            col[k] = first + trailing_zeros(mask)
            k += 1
            mask &= mask - ONE
        while mask:
            col[k] = first + trailing_zeros(mask)
            k += 1
            mask &= mask - ONE
        k = end
    return k


@jit
def _count(flags, recent, per_neuron, counted):  # type: ignore[no-untyped-def]
    """Count the spikes of a row in bytes, many at once; return how many rows the bytes hold."""
    if counted == 255:
        _add_counts(recent, per_neuron)
        counted = 0
    for i in range(len(flags)):
        recent[i] += flags[i]
    return counted + 1


@jit
def _add_counts(recent, per_neuron):  # type: ignore[no-untyped-def]
    for i in range(len(per_neuron)):
        per_neuron[i] += recent[i]
    for i in range(len(recent)):
        recent[i] = 0


@jit
def _silent(ptr, per_row, following, r, k):  # type: ignore[no-untyped-def]
    """Close the replicas from ``following`` to r - 1, which are outside their window; return r + 1."""
    for other in range(following, r):
        ptr[other] = k
        per_row[other] = 0
    ptr[r] = k
    return r + 1


@jit
def bound(v, rows, floor, ceiling):  # type: ignore[no-untyped-def]
    """Keep v[rows] inside [floor, ceiling]."""
    for index in range(len(rows)):
        _bound(v[rows[index]], floor, ceiling)


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
def _gather(acc, small, chunk, Wt, col, first, last):  # type: ignore[no-untyped-def]
    """acc = the sum of the rows of Wt listed in col[first:last], several at a time to spare loads and stores of acc.

    So many rows as cannot overflow 16 bits, ``chunk``, are summed in ``small`` first (0: weights too large for that):
    twice as many numbers fit into an instruction.
    """
    n = len(acc)
    for i in range(n):
        acc[i] = 0
    s = first
    while chunk and s < last:
        stop = min(last, s + chunk)
        _gather_small(small, Wt, col, s, stop, n)
        for i in range(n):
            acc[i] += small[i]
        s = stop
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
def _gather_small(small, Wt, col, first, last, n):  # type: ignore[no-untyped-def]
    """small = the sum of the rows of Wt listed in col[first:last], in 16 bits."""
    for i in range(n):
        small[i] = 0
    s = first
    while s + 8 <= last:
        a, b, c, d = Wt[col[s]], Wt[col[s + 1]], Wt[col[s + 2]], Wt[col[s + 3]]
        e, f, g, h = Wt[col[s + 4]], Wt[col[s + 5]], Wt[col[s + 6]], Wt[col[s + 7]]
        for i in range(n):
            ab, cd = np.int16(np.int16(a[i]) + np.int16(b[i])), np.int16(np.int16(c[i]) + np.int16(d[i]))
            ef, gh = np.int16(np.int16(e[i]) + np.int16(f[i])), np.int16(np.int16(g[i]) + np.int16(h[i]))
            small[i] = np.int16(small[i] + np.int16(np.int16(ab + cd) + np.int16(ef + gh)))
        s += 8
    while s + 4 <= last:
        a, b, c, d = Wt[col[s]], Wt[col[s + 1]], Wt[col[s + 2]], Wt[col[s + 3]]
        for i in range(n):
            ab, cd = np.int16(np.int16(a[i]) + np.int16(b[i])), np.int16(np.int16(c[i]) + np.int16(d[i]))
            small[i] = np.int16(small[i] + np.int16(ab + cd))
        s += 4
    while s < last:
        a = Wt[col[s]]
        for i in range(n):
            small[i] = np.int16(small[i] + np.int16(a[i]))
        s += 1


@jit
def accumulate(v, rows, gain, Wt, ptr, col, acc, small, chunk):  # type: ignore[no-untyped-def]
    """Add gain * (sum of the rows of Wt that spiked) to v[row]."""
    n = v.shape[1]
    for index in range(len(rows)):
        r = rows[index]
        first, last = ptr[r], ptr[r + 1]
        if first == last:
            continue
        _gather(acc, small, chunk, Wt, col, first, last)
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
