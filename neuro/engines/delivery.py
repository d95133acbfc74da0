"""Spikes of a step -> sums of weights, for one projection and a batch of replicas.

Event-driven: the cost follows the spikes, not the synapses. Where a layer is so active
that a dense multiplication is faster, it is used instead; integer sums are the same
either way. Weights are held once, divided by the largest common power of two, in the
narrowest integer type (Loihi's even -256..254 become int8).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..errors import EngineError
from .kernels_scipy import spike_matrix
from .lowering import Neurons, Synapses

Array = np.ndarray

# Share of active neurons above which BLAS takes over from the event-driven loop, by kernel and type of the weights.
# Measured on one core of a Zen 3 (AVX2), layers of 400 and 1,200 neurons, batch 250; BLAS in float32 for integers.
DENSE_ABOVE = {
    ("numba", "int8"): 1.0,  # never
    ("numba", "int16"): 0.65,
    ("numba", "int32"): 0.4,
    ("numba", "int64"): 0.4,
    ("numba", "float64"): 0.35,
    ("scipy", "int64"): 0.045,
    ("scipy", "float64"): 0.15,
}
SHORTEST_CHUNK = 16
LINE_BYTES, VECTOR_BYTES = 64, 32  # of the cache, and of the instructions (AVX2; half of AVX-512's)
EXACT_FLOAT32 = 2.0**24
EXACT_FLOAT64 = 2.0**53


def load_kernels(kind: str) -> tuple[str, ModuleType]:
    """Return (name, module) of the inner loops: numba, or SciPy where numba is absent or refused.

    Raises EngineError when ``kind`` is ``"numba"`` and it cannot be imported.
    """
    if kind != "scipy":
        try:
            from . import kernels

            return "numba", kernels
        except ImportError as error:
            if kind == "numba":
                raise EngineError(f"kernel 'numba' was asked for and cannot be imported ({error}); use 'auto'") from error
    from . import kernels_scipy

    return "scipy", kernels_scipy


@dataclass(eq=False)
class Spikes:
    """The spikes of one population in one step.

    Replica r fired ``col[ptr[r]:ptr[r + 1]]``, each ``val`` times (None: once; -1: a negative spike).
    """

    ptr: Array
    col: Array
    val: Array | None
    total: int


class Firing:
    """Bounds, threshold and reset of simple neurons in the form of the compiled loops, and the spikes of the last step.

    ``bounded``: whether the potential can meet its bounds; without a threshold nothing but the bounds is left.
    """

    def __init__(self, neurons: Neurons, replicas: int, kind: type, bounded: bool) -> None:
        from . import kernels  # here, as numba may be absent, and Firing is for those who have it

        size, number = neurons.size, np.dtype(kind)
        least, greatest = (-np.inf, np.inf) if number.kind == "f" else (-(2.0**31), 2.0**31 - 1)
        floor = np.full(size, least, number) if neurons.floor is None else neurons.floor.astype(number)
        ceiling = np.full(size, greatest, number) if neurons.ceiling is None else neurons.ceiling.astype(number)
        self.bounded, self.bounds = bounded, (floor, ceiling)
        self.fires = neurons.theta is not None and neurons.spec.reset is not None
        self.per_row = np.zeros(replicas, np.int64)
        self.spikes: Spikes | None = None
        if neurons.theta is None or not self.fires:
            return
        theta = neurons.theta.astype(number)
        start = theta  # the least potential that fires
        if neurons.spec.comparison == ">":
            start = np.nextafter(theta, np.inf) if number.kind == "f" else theta + number.type(1)
        self._rule = (bounded, floor, ceiling, start, theta, neurons.spec.reset == "zero")
        self._col = np.empty(replicas * size + kernels.IN_VAIN, np.int32)
        self._flags = np.zeros(-(-size // kernels.BLOCK) * kernels.BLOCK, np.uint8)
        self._recent = np.zeros_like(self._flags)
        self._ptr = np.zeros(replicas + 1, np.int64)
        self.neuron_counts = np.zeros(size, np.int64)

    def begin(self) -> None:
        """Forget the last step."""
        self.spikes = None

    def arguments(self) -> tuple[Any, ...]:
        """What the loops take: the rule, and where spikes and counts go."""
        self._ptr = np.zeros_like(self._ptr)
        return self._rule, self._ptr, self._col, self._flags, self._recent, self.per_row, self.neuron_counts

    def finish(self, count: int) -> None:
        """Keep the spikes that a loop has found."""
        self.spikes = Spikes(self._ptr, self._col[:count].copy(), None, count)

    def apply(self, kernels: ModuleType, v: Array, rows: Array, base: Array, own: int, adding: bool) -> None:
        """Bound the potentials and let them fire, where no loop of the arrivals has done it.

        ``adding``: base[row * own] is still to be added.
        """
        if self.fires:
            if self.spikes is None:
                self.finish(kernels.fire(v, rows, base, own, adding, *self.arguments()))
            return
        if adding:
            kernels.add_base(v, rows, base, own)
        if self.bounded:
            kernels.bound(v, rows, *self.bounds)


class Delivery:
    """One projection, ready to add its arrivals to the potentials (or drives) of its target.

    ``mode`` is ``"auto"``, ``"events"`` or ``"dense"``; ``most`` is the largest number of spikes of a neuron in a step,
    ``graded`` says that spikes carry a value. ``seen`` collects the ways of delivery that were used.
    """

    def __init__(self, synapses: Synapses, exact: bool, kernel: str, mode: str, graded: bool, most: int) -> None:
        self.name, self.mode, self.graded = synapses.name, mode, graded
        self._kernel_name, self._kernels = load_kernels(kernel)
        self.seen: set[str] = set()
        weight = synapses.weight
        self.sparse = bool(sp.issparse(weight))
        self.n_post, self.n_pre = weight.shape
        values = weight.data if self.sparse else np.asarray(weight)
        reach = most * float(synapses.reach.max()) if values.size else 0.0
        if exact and reach >= EXACT_FLOAT64:
            raise EngineError(f"projection {self.name}: sums reach {reach:.3g}, beyond exact arithmetic (2^53)")
        low, high = (int(values.min()), int(values.max())) if exact and values.size else (0, 0)
        gain = _power_of_two(values) if exact and values.size else 1
        kind: Any = np.float64
        if exact:
            wide = self._kernel_name == "scipy"
            kind = np.int64 if wide else _narrowest(low // gain, high // gain)
        self.weight: Array | None = None
        self._columns: tuple[Array, Array, Array] | None = None
        if self.sparse:
            columns = sp.csc_array(weight)
            data = columns.data // gain if gain > 1 else columns.data
            self._columns = (columns.indptr.astype(np.int64), columns.indices.astype(np.int32), data.astype(kind))
        else:
            self.weight = _rows((values // gain if gain > 1 else values).T, kind, padded=self._kernel_name == "numba")
        width = self.n_post if self.weight is None else self.weight.shape[1]
        acc = np.zeros(width, np.float64 if not exact else np.int32 if reach < 2.0**31 else np.int64)
        self.gain = acc.dtype.type(gain)
        self._scratch = (acc, np.zeros(width, np.int16), _chunk(max(high, -low) // gain, kind))
        self._dense_type: Any = np.float32 if exact and reach / gain < EXACT_FLOAT32 else np.float64
        self._dense: Array | None = None
        twice = 2 if exact and self._dense_type is np.float64 else 1  # sums too large for float32
        self._dense_above = min(1.0, twice * DENSE_ABOVE[self._kernel_name, np.dtype(kind).name])

    def add(
        self, target: Array, rows: Array, spikes: Spikes, base: Array | None = None, own: int = 0, firing: Firing | None = None
    ) -> None:
        """Add the arrivals, and base[row * own] where given, to ``target[rows]``.

        Where one loop can also let the neurons fire, ``firing`` has its spikes afterwards.
        """
        dense = not self.sparse and (
            self.mode == "dense" or (self.mode == "auto" and spikes.total > self._dense_above * self.n_pre * (len(spikes.ptr) - 1))
        )
        if base is not None and not dense and self.weight is not None and not self.graded:
            self.seen.add("events")
            what = (target, rows, base, own, self.gain, self.weight, spikes.ptr, spikes.col, *self._scratch)
            if firing is None:
                self._kernels.integrate(*what)
            else:
                firing.finish(self._kernels.integrate_fire(*what, *firing.arguments()))
            return
        if base is not None:
            self._kernels.add_base(target, rows, base, own)
        if not spikes.total:
            return
        self.seen.add("dense" if dense else "events")
        if dense:
            self._multiply(target, rows, spikes)
        elif self._columns is not None:
            val = np.ones(spikes.total, np.int32) if spikes.val is None else spikes.val
            self._kernels.accumulate_sparse(target, rows, self.gain, *self._columns, spikes.ptr, spikes.col, val)
        elif self.graded:
            self._kernels.accumulate_graded(target, rows, self.gain, self.weight, spikes.ptr, spikes.col, spikes.val)
        else:
            self._kernels.accumulate(target, rows, self.gain, self.weight, spikes.ptr, spikes.col, *self._scratch)

    def _multiply(self, target: Array, rows: Array, spikes: Spikes) -> None:
        assert self.weight is not None
        if self._dense is None:
            self._dense = self.weight[:, : self.n_post].astype(self._dense_type)
        val = np.ones(spikes.total) if spikes.val is None else spikes.val
        active = spike_matrix(spikes.ptr, spikes.col, val, self._dense.dtype, self.n_pre).toarray()
        sums = active[rows] @ self._dense
        target[rows] += sums.astype(target.dtype) * target.dtype.type(self.gain)

    @property
    def description(self) -> str:
        """What was used, for the Recording: ``"numba int8 events"``."""
        kind = self._columns[2].dtype if self._columns is not None else self.weight.dtype  # type: ignore[union-attr]
        return f"{self._kernel_name} {kind} {'+'.join(sorted(self.seen)) or 'no spikes'}"


def _power_of_two(values: Array) -> int:
    """Return the largest power of two that divides all integers: chips scale their weights by one."""
    bits = int(np.bitwise_or.reduce(values, axis=None))
    return bits & -bits or 1


def _narrowest(low: int, high: int) -> Any:
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.int64


def _rows(values: Array, kind: Any, padded: bool) -> Array:
    """Return ``values`` (n_pre, n_post) as ``kind``, in rows of whole instructions where wanted: zeros fill them up.

    No instruction then reads across two lines of the cache: measured against unaligned rows side by side, the loops take 0.82 to 0.89
    of the time for 10 to 1,200 weights of 16 bits, 0.83 to 0.97 for 8 bits.
    """
    kind = np.dtype(kind)
    n_rows, n = values.shape
    step = VECTOR_BYTES // kind.itemsize if padded else 1
    width = -(-n // step) * step
    memory = np.zeros(n_rows * width * kind.itemsize + LINE_BYTES, np.uint8)
    first = -memory.ctypes.data % LINE_BYTES
    rows = memory[first : first + n_rows * width * kind.itemsize].view(kind).reshape(n_rows, width)
    rows[:, :n] = values.astype(kind)  # in the narrow type before it is transposed
    return rows


def _chunk(largest: int, kind: Any) -> int:
    """Return how many weights of magnitude up to ``largest`` fit 16 bits when summed; 0 where they are too few to be worth it."""
    if kind not in (np.int8, np.int16):
        return 0
    fitting = np.iinfo(np.int16).max // max(largest, 1)
    return fitting if fitting >= SHORTEST_CHUNK else 0
