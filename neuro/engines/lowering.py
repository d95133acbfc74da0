"""SpikingNetwork -> the numbers every engine computes with.

A network on a grid becomes integers: v, thresholds, biases and weight x amplitude
in units of the receiving neuron's grid. Sums of integers are the same in any order,
which is why every engine gives the same spikes. A network without a grid stays in
float64 and makes no such promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ..errors import EngineError
from ..network import INPUT, Population, Projection, SpikingNetwork, Weight, per_neuron

Array = np.ndarray
LARGEST = 2.0**52  # integers held in float64 stay exact below this
WORTH_LEAVING_OUT = 0.9  # share of inputs in use below which copying their columns costs less than multiplying the others by zero
BLOCK_BYTES = 2**19  # of weights that are scaled at once: what is done to them in several passes stays in the cache


def weight_count(weight: Weight) -> int:
    """Return the number of stored weights."""
    return int(weight.nnz) if sp.issparse(weight) else int(np.prod(weight.shape))


@dataclass(frozen=True, eq=False)
class Neurons:
    """One population in engine units: (size,) int64 arrays, or float64 without a grid."""

    spec: Population
    theta: Array | None
    v_init: Array
    bias: Array | None
    floor: Array | None
    ceiling: Array | None
    unit: Array

    @property
    def name(self) -> str:
        """Name of the population."""
        return self.spec.name

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.spec.size

    @property
    def start(self) -> int:
        """First step of its window."""
        return self.spec.start

    @cached_property
    def simple(self) -> bool:
        """Integrate-and-fire without leak, wrap-around, refractory time, bursts or signed spikes."""
        p = self.spec
        return p.leak is None and p.overflow != "wrap" and p.refractory == 0 and p.max_spikes == 1 and not p.signed

    @cached_property
    def plain(self) -> bool:
        """The same without bounds."""
        return self.simple and self.floor is None and self.ceiling is None

    def reaches_bounds(self, largest: float) -> bool:
        """Whether a potential of magnitude up to ``largest`` can meet a bound."""
        low = np.inf if self.floor is None else float(np.min(-self.floor))
        high = np.inf if self.ceiling is None else float(np.min(self.ceiling))
        return largest > min(low, high)

    def bias_row(self, step: int) -> Array | None:
        """Return the bias of one step of the window, (size,)."""
        if self.bias is None or self.bias.ndim == 1:
            return self.bias
        if step >= len(self.bias):
            raise EngineError(
                f"{self.name}: its bias is given for {len(self.bias)} steps, the run asks for step {step + 1}; "
                f"use n_steps <= {len(self.bias)} or calibrate for more"
            )
        return self.bias[step]


@dataclass(frozen=True, eq=False)
class Synapses:
    """One projection in engine units of its target; ``weight`` is (n_post, n_pre)."""

    spec: Projection
    weight: Weight
    delay: int | None  # None: "window"
    lag: int = 0  # steps of the window by which spikes arrive later than they were sent; above 0 on loops alone

    @property
    def name(self) -> str:
        """``"pre->post"``."""
        return self.spec.name

    @cached_property
    def reach(self) -> Array:
        """Largest magnitude of the sum of one step at each target where every source fires once, (n_post,)."""
        return np.asarray(abs(self.weight).sum(axis=1)).ravel()


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network in engine units."""

    network: SpikingNetwork
    exact: bool
    neurons: tuple[Neurons, ...]
    synapses: tuple[Synapses, ...]  # those that carry spikes
    ports: tuple[Projection, ...]  # those that carry constant current

    def __getitem__(self, name: str) -> Neurons:
        """Return the neurons of that population."""
        return next(n for n in self.neurons if n.name == name)

    def incoming(self, name: str) -> tuple[Synapses, ...]:
        """Return the synapses that end in ``name``."""
        return tuple(s for s in self.synapses if s.spec.post == name)

    def currents(self, name: str, x: Array) -> Array | None:
        """Return the constant current of ``x`` (n_samples, n_in) into a population, (n_samples, size), in its units."""
        total: Array | None = None
        target = self[name]
        for port in self.ports:
            if port.post == name and target.spec.encoder is None:
                part = current(port, target, x, self.exact)
                total = part if total is None else total + part
        return total

    def largest(self, n_steps: int, x_max: float) -> dict[str, float]:
        """Bound of every |v|, sums included: |v_init| + T (|bias| + |W_in| x_max + sum_j |w_ij| k)."""
        bounds = {}
        for n in self.neurons:
            step = np.zeros(n.size)
            if n.bias is not None:
                step = step + np.abs(n.bias).max(axis=0) if n.bias.ndim == 2 else step + np.abs(n.bias)
            for port in self.ports:
                if port.post == n.name:
                    limit = np.asarray(abs(port.weight).sum(axis=1)).ravel() * x_max / (_unit(n.spec) if self.exact else 1)
                    if port.current is not None:
                        limit = limit + np.abs(port.current.offset)
                    step = step + limit
            for s in self.incoming(n.name):
                step = step + s.reach * self[s.spec.pre].spec.max_spikes
            reach = np.abs(n.v_init) + n_steps * step
            if n.floor is not None and n.ceiling is not None:  # bounded after the sum of each step
                reach = np.minimum(reach, np.maximum(np.abs(n.floor), np.abs(n.ceiling)) + step)
            bounds[n.name] = float(reach.max())
        return bounds


def current(port: Projection, target: Neurons, x: Array, exact: bool) -> Array:
    """Return the current of one port projection: W x summed in float64, then rounded once."""
    z = _product(np.asarray(x, dtype=np.float64), port.weight)
    if not exact:
        return z
    chip = port.current
    if chip is None:
        z /= _unit(target.spec)
        return np.rint(z, out=z).astype(np.int64)
    z = z + chip.offset
    if chip.limit is not None:
        z = np.clip(z, -np.asarray(chip.limit), np.asarray(chip.limit))
    step = 2.0**chip.exponent
    return (np.clip(np.rint(z / step), -chip.mantissa_max, chip.mantissa_max) * step).astype(np.int64)


def _product(x: Array, weight: Weight) -> Array:
    """Return x W^T, (n_samples, n_post) float64; inputs that are zero in every sample, the margins of pictures, are left out."""
    if sp.issparse(weight):
        return np.asarray((weight @ x.T).T)
    weight, used = np.asarray(weight, dtype=np.float64), np.flatnonzero(x.any(axis=0))
    if len(used) < WORTH_LEAVING_OUT * x.shape[1]:
        x, weight = np.take(x, used, axis=1), np.take(weight, used, axis=1)
    return x @ weight.T


def lower(network: SpikingNetwork) -> Lowered:
    """Return the network in engine units.

    Raises
    ------
    EngineError : a delay of a recurrent projection without sequences, or numbers beyond exact arithmetic.
    """
    exact = network.exact
    neurons = tuple(_neurons(p, exact) for p in network.populations)
    synapses = []
    for j in network.projections:
        if j.pre == INPUT:
            continue
        pre, post = network[j.pre], network[j.post]
        weight = _scaled(j.weight, per_neuron(pre.amplitude, pre.size), per_neuron(_unit(post), post.size) if exact else None)
        synapses.append(Synapses(j, weight, None if j.delay == "window" else int(j.delay), network.lag(j)))
    ports = tuple(j for j in network.projections if j.pre == INPUT)
    return Lowered(network, exact, neurons, tuple(synapses), ports)


def _unit(p: Population) -> Array | float:
    return 1.0 if p.grid is None else np.asarray(p.grid, dtype=np.float64)


def _neurons(p: Population, exact: bool) -> Neurons:
    unit = per_neuron(_unit(p) if exact else 1.0, p.size)

    def put(value: object) -> Array:
        numbers = per_neuron(value, p.size) / unit
        return _integers(numbers, p.name) if exact else np.array(numbers)

    bias = None
    if p.bias is not None:
        bias = np.asarray(p.bias, dtype=np.float64) / unit
        bias = _integers(bias, p.name) if exact else bias
    return Neurons(
        spec=p,
        theta=None if p.v_threshold is None or p.encoder is not None else put(p.v_threshold),
        v_init=put(p.v_init),
        bias=bias,
        floor=None if p.v_floor is None else put(p.v_floor),
        ceiling=None if p.v_ceiling is None else put(p.v_ceiling),
        unit=unit * per_neuron(p.scale, p.size),
    )


def _scaled(weight: Weight, amplitude: Array, unit: Array | None) -> Weight:
    if sp.issparse(weight):
        matrix = sp.csr_array(weight).astype(np.float64)
        data = matrix.data * amplitude[matrix.indices]
        if unit is not None:
            data = _integers(data / np.repeat(unit, np.diff(matrix.indptr)), "a sparse projection")
        return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    dense = np.asarray(weight)
    if unit is None:
        return dense * amplitude.astype(np.float64)
    found = np.empty(dense.shape, np.int64)
    step = max(1, BLOCK_BYTES // (8 * max(1, dense.shape[1])))
    for rows in (slice(first, first + step) for first in range(0, len(dense), step)):
        block = dense[rows] * amplitude
        block /= unit[rows, None]
        found[rows] = _integers(block, "a projection")
    return found


def _integers(numbers: Array, where: str) -> Array:
    """Return ``numbers`` rounded, as int64; their own memory serves for the rounding."""
    most = max(float(numbers.max()), -float(numbers.min())) if numbers.size else 0.0
    if most > LARGEST:
        raise EngineError(
            f"{where}: a number is {most:.3g} times its grid, beyond exact arithmetic (2^52); convert with a coarser grid"
        )
    return np.rint(numbers, out=numbers).astype(np.int64)
