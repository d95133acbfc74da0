"""Spikes of a step -> sums of weights, for one projection and a batch of replicas.

Event-driven: the cost follows the spikes, not the synapses. Where a layer is so active
that a dense multiplication is faster, it is used instead; integer sums are the same
either way. Weights are held once, divided by their greatest common divisor, in the
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
from .lowering import Synapses

Array = np.ndarray

# Share of active neurons above which BLAS in float32 takes over from the event-driven loop: an estimate from their rates, not measured yet.
DENSE_ABOVE = 0.35
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
        reach = most * float(np.asarray(abs(weight).sum(axis=1)).max()) if values.size else 0.0
        if exact and reach >= EXACT_FLOAT64:
            raise EngineError(f"projection {self.name}: sums reach {reach:.3g}, beyond exact arithmetic (2^53)")
        gain = max(int(np.gcd.reduce(values.ravel())), 1) if exact and values.size else 1
        kind: Any = np.float64
        if exact:
            wide = self._kernel_name == "scipy"
            kind = np.int64 if wide else _narrowest(float(np.abs(values).max()) / gain if values.size else 0.0)
        self.weight: Array | None = None
        self._columns: tuple[Array, Array, Array] | None = None
        if self.sparse:
            columns = sp.csc_array(weight)
            data = columns.data // gain if exact else columns.data
            self._columns = (columns.indptr.astype(np.int64), columns.indices.astype(np.int32), data.astype(kind))
        else:
            self.weight = np.ascontiguousarray((values // gain if exact else values).T.astype(kind))
        self.acc = np.zeros(self.n_post, np.float64 if not exact else np.int32 if reach < 2.0**31 else np.int64)
        self.gain = self.acc.dtype.type(gain)
        self._dense_type: Any = np.float32 if exact and reach / gain < EXACT_FLOAT32 else np.float64
        self._dense: Array | None = None

    def add(self, target: Array, rows: Array, spikes: Spikes, base: Array | None = None, own: int = 0) -> None:
        """Add the arrivals, and base[row * own] where given, to ``target[rows]``."""
        dense = not self.sparse and (
            self.mode == "dense" or (self.mode == "auto" and spikes.total > DENSE_ABOVE * self.n_pre * (len(spikes.ptr) - 1))
        )
        if base is not None and not dense and self.weight is not None and not self.graded:
            self._kernels.integrate(target, rows, base, own, self.gain, self.weight, spikes.ptr, spikes.col, self.acc)
            self.seen.add("events")
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
            self._kernels.accumulate(target, rows, self.gain, self.weight, spikes.ptr, spikes.col, self.acc)

    def _multiply(self, target: Array, rows: Array, spikes: Spikes) -> None:
        assert self.weight is not None
        if self._dense is None:
            self._dense = self.weight.astype(self._dense_type)
        val = np.ones(spikes.total) if spikes.val is None else spikes.val
        active = spike_matrix(spikes.ptr, spikes.col, val, self._dense.dtype, self.n_pre).toarray()
        sums = active[rows] @ self._dense
        target[rows] += sums.astype(target.dtype) * target.dtype.type(self.gain)

    @property
    def description(self) -> str:
        """What was used, for the Recording: ``"numba int8 events"``."""
        kind = self._columns[2].dtype if self._columns is not None else self.weight.dtype  # type: ignore[union-attr]
        return f"{self._kernel_name} {kind} {'+'.join(sorted(self.seen)) or 'no spikes'}"


def _narrowest(largest: float) -> Any:
    for kind in (np.int8, np.int16, np.int32):
        if largest <= np.iinfo(kind).max:
            return kind
    return np.int64
