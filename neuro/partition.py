"""Split populations over cores: what each core needs, what it has, and what does not fit.

A population of n neurons is cut into k ranges of equal size, k as small as every limit allows. The number of
cores a layer takes decides how many output axons the layer before it needs, so layers are cut from the last to the
first, and again until nothing changes (recurrent projections).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from .chip import Chip, Figure
from .formats import WeightFormat
from .network import INPUT, Population, Projection, SpikingNetwork

Array = np.ndarray
BLOCK = 64  # synapses of one block of Loihi's synapse memory
WORDS = {
    "compartments": "neurons_per_core",
    "synapse_memory": "synapse_memory_per_core",
    "in_axons": "in_axons_per_core",
    "out_axons": "out_axons_per_core",
    "biases": "biases_per_core",
}
"""Resource of a core -> the limit that binds it."""


@dataclass(frozen=True)
class Excess:
    """One limit that a network exceeds: where, how much of what, the limit, and what would make it fit."""

    where: str
    resource: str
    use: float
    limit: float
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}  {self.resource}: {self.use:,.0f}, limit {self.limit:,.0f}; {self.remedy}"


@dataclass(frozen=True, eq=False)
class Demand:
    """A network as the cores see it.

    compartments : {population: compartments a neuron takes, copies not counted}. weight : of the chip, for memory.
    """

    network: SpikingNetwork
    chip: Chip
    weight: WeightFormat
    compartments: Mapping[str, int]

    @cached_property
    def placed(self) -> tuple[Population, ...]:
        """Populations that live on cores; an encoder's spikes come from the host."""
        return tuple(p for p in self.network.populations if p.encoder is None)

    @cached_property
    def limits(self) -> dict[str, float]:
        """Limits of one core that the chip file states."""
        found = {name: _value(getattr(self.chip.limits, field)) for name, field in WORDS.items()}
        return {name: limit for name, limit in found.items() if limit is not None}

    def incoming(self, name: str) -> tuple[Projection, ...]:
        """Projections that arrive as spikes."""
        return tuple(j for j in self.network.incoming(name) if j.pre != INPUT)

    def copies(self, destinations: Array) -> Array:
        """Return the copies of each neuron where it reaches few axons; ``destinations``: cores its spikes go to."""
        targets = _value(self.chip.limits.targets_per_neuron)
        if targets is None:
            return np.ones_like(destinations)
        return np.maximum(np.ceil(destinations * self.weight.axons_per_input / targets), 1).astype(np.int64)


def bounds(size: int, k: int) -> Array:
    """Return the k + 1 borders of k ranges of (nearly) equal size."""
    return np.arange(k + 1) * size // k


def axon_bits(counts: Array, bits: int) -> Array:
    """Return the synapse memory of axons with ``counts`` synapses of ``bits`` each [bit].

    sum over blocks of 64 synapses of ceil64(n bits + 4 + 6).
    Source: nengo/nengo-loihi e564f66e, SynapseConfig.bits_per_axon.
    """
    full, rest = np.divmod(np.asarray(counts), BLOCK)
    block = -(-(BLOCK * bits + 10) // 64) * 64
    return full * block + np.where(rest > 0, -(-(rest * bits + 10) // 64) * 64, 0)


def memory(j: Projection, first: int, last: int, chip: Chip, weight: WeightFormat, counts: Array | None = None) -> float:
    """Return the synapse memory that neurons [first, last) of a projection's target take in one core [bit].

    Loihi stores an axon's synapses densely, or with an index each; the smaller is taken. Other chips: synapses x bits.
    ``counts``: synapses of each axon there, for a sparse weight.
    """
    n = last - first
    if chip.arithmetic.weight_index_bits_offered is None:
        stored = n * j.weight.shape[1] if counts is None else int(counts.sum())
        return float(stored * weight.bits)
    delay = 6 if j.delay == "window" else int(np.ceil(np.log2(j.delay)))
    plain = weight.bits + delay
    dense = axon_bits(np.array([n]), plain)[0] * (j.weight.shape[1] if counts is None else int(np.count_nonzero(counts)))
    if counts is None:
        return float(dense)
    wide = int(np.ceil(np.log2(max(n, 2))))
    offered = [b for b in chip.arithmetic.weight_index_bits_offered.value if b >= wide and b > 0]
    if not offered:
        return float(dense)
    return float(min(dense, axon_bits(counts[counts > 0], plain + min(offered)).sum()))


def use_of(demand: Demand, p: Population, borders: Array, destinations: Array) -> dict[str, Array]:
    """Return {resource: (k,) use of each range} of a population cut at ``borders``.

    destinations : (size,) cores that one spike of each neuron goes to.
    """
    k = len(borders) - 1
    per_neuron = demand.compartments[p.name] * demand.copies(destinations)
    use = {
        "compartments": np.add.reduceat(per_neuron, borders[:-1]).astype(float),
        "out_axons": np.add.reduceat(destinations, borders[:-1]).astype(float),
        "in_axons": np.zeros(k),
        "synapse_memory": np.zeros(k),
        "biases": np.diff(borders).astype(float) if p.bias is not None and np.any(p.bias) else np.zeros(k),
    }
    for j in demand.incoming(p.name):
        if not sp.issparse(j.weight):
            use["in_axons"] += j.weight.shape[1] * demand.weight.axons_per_input
            sizes = np.diff(borders)
            bits = {int(n): memory(j, 0, int(n), demand.chip, demand.weight) for n in np.unique(sizes)}
            use["synapse_memory"] += np.array([bits[int(n)] for n in sizes])
            continue
        for i in range(k):
            first, last = int(borders[i]), int(borders[i + 1])
            columns = j.weight.indices[j.weight.indptr[first] : j.weight.indptr[last]]
            counts = np.bincount(columns, minlength=j.weight.shape[1])
            use["in_axons"][i] += np.count_nonzero(counts) * demand.weight.axons_per_input
            use["synapse_memory"][i] += memory(j, first, last, demand.chip, demand.weight, counts)
    return use


def reached(j: Projection, borders: Array) -> Array:
    """Return, for each presynaptic neuron, whether it has a synapse in each range of the target, (k, n_pre) bool."""
    k = len(borders) - 1
    if not sp.issparse(j.weight):
        return np.ones((k, j.weight.shape[1]), dtype=bool)
    found = np.zeros((k, j.weight.shape[1]), dtype=bool)
    for i in range(k):
        found[i, j.weight.indices[j.weight.indptr[borders[i]] : j.weight.indptr[borders[i + 1]]]] = True
    return found


def destinations(demand: Demand, p: Population, cuts: Mapping[str, Array]) -> Array:
    """Return the number of cores that one spike of each neuron goes to, (size,) int."""
    total = np.zeros(p.size, dtype=np.int64)
    for j in demand.network.outgoing(p.name):
        total += reached(j, cuts[j.post]).sum(axis=0)
    return total


def split(demand: Demand) -> tuple[dict[str, Array], list[Excess]]:
    """Return the borders of every population's ranges, and every excess (empty: it fits, chips aside)."""
    cuts = {p.name: bounds(p.size, 1) for p in demand.placed}
    stuck: set[str] = set()
    changed = True
    while changed:
        changed = False
        for p in reversed(demand.placed):
            if p.name in stuck:
                continue
            targets = destinations(demand, p, cuts)
            k = _fewest(demand, p, targets, len(cuts[p.name]) - 1)
            if k is None:
                stuck.add(p.name)
                k = p.size
            if k != len(cuts[p.name]) - 1:
                cuts[p.name] = bounds(p.size, k)
                changed = True
    excesses = []
    for p in demand.placed:
        if p.name in stuck:
            excesses += _over(demand, p, destinations(demand, p, cuts))
    return cuts, excesses


def _fits(demand: Demand, p: Population, targets: Array, k: int) -> bool:
    use = use_of(demand, p, bounds(p.size, k), targets)
    return all(use[name].max() <= limit for name, limit in demand.limits.items())


def _fewest(demand: Demand, p: Population, targets: Array, at_least: int) -> int | None:
    """Return the smallest k >= at_least that fits, by doubling and halving; None when single neurons do not fit."""
    low, high = at_least, at_least
    while not _fits(demand, p, targets, high):
        if high == p.size:
            return None
        low, high = high + 1, min(2 * high, p.size)
    while low < high:
        middle = (low + high) // 2
        if _fits(demand, p, targets, middle):
            high = middle
        else:
            low = middle + 1
    return high


def _over(demand: Demand, p: Population, targets: Array) -> list[Excess]:
    use = use_of(demand, p, bounds(p.size, p.size), targets)
    causes = []
    for name, limit in demand.limits.items():
        most = float(use[name].max())
        if most <= limit:
            continue
        causes.append(Excess(p.name, f"{name.replace('_', ' ')} of one core", most, limit, _remedy(name, demand, p, most, limit)))
    return causes


def _remedy(name: str, demand: Demand, p: Population, most: float, limit: float) -> str:
    if name == "in_axons":
        per = f", at {demand.weight.axons_per_input} axons an input" if demand.weight.axons_per_input > 1 else ""
        return (
            f"prune to {int(limit // demand.weight.axons_per_input):,} inputs{per}, or use fewer inputs; "
            "the chip file states no way to add partial sums of several cores"
        )
    if name == "synapse_memory":
        bits = max(int(demand.weight.bits * limit / most), 0)
        return f"weights of {bits} bits or fewer would fit; or prune, or use fewer inputs"
    if name == "out_axons":
        return "its spikes go to too many cores: narrower target layers or fewer weight bits take fewer cores"
    if name == "compartments":
        return "its spikes need more copies than a core has neurons: narrower target layers or fewer weight bits"
    return "remove biases or use a narrower layer"


def whole_network(demand: Demand) -> list[Excess]:
    """Return the excesses that no splitting can change: fan-in, fan-out, delays, neurons and ports of a chip."""
    limits, network = demand.chip.limits, demand.network
    found: list[Excess] = []

    def check(where: str, resource: str, use: float, limit: Figure | None, remedy: str) -> None:
        if limit is not None and use > limit.value:
            found.append(Excess(where, resource, use, limit.value, remedy))

    axons = demand.weight.axons_per_input
    for p in demand.placed:
        fan_in = sum(_per_row(j) for j in demand.incoming(p.name)) * axons
        most = int(limits.fan_in.value // axons) if limits.fan_in is not None else 0
        wide = f" at {axons} axons an input" if axons > 1 else ""
        check(
            p.name,
            "fan-in of a neuron",
            float(np.max(fan_in, initial=0)),
            limits.fan_in,
            f"prune to {most} inputs a neuron{wide}",
        )
        synapses = sum(_per_column(j) for j in network.outgoing(p.name))
        if limits.targets_per_neuron is None:
            check(
                p.name,
                "fan-out of a neuron",
                float(np.max(synapses, initial=0)),
                limits.fan_out,
                "prune its outgoing weights",
            )
        check(
            p.name,
            "target layers",
            len(network.outgoing(p.name)),
            limits.destinations_per_core,
            "remove skip connections",
        )
        check(
            p.name,
            "synapse formats of a core",
            len(demand.incoming(p.name)),
            limits.synapse_formats_per_core,
            "merge projections",
        )
    longest = limits.delay_max_extended or limits.delay_max
    for j in network.projections:
        if j.delay != "window" and j.pre != INPUT:
            check(j.name, "delay in steps", float(j.delay), longest, "use a shallower residual branch")
    hidden = [p for p in demand.placed if p is not network.output]
    if limits.outputs_per_chip is not None:
        check("output", "output neurons", network.output.size, limits.outputs_per_chip, "use fewer classes")
        check(
            "network",
            "hidden neurons of the chip",
            sum(p.size for p in hidden),
            limits.neurons_per_chip,
            "use narrower layers",
        )
    else:
        check(
            "network",
            "neurons of the chip",
            sum(p.size for p in demand.placed),
            limits.neurons_per_chip,
            "use narrower layers",
        )
    check("input", "input channels", network.input_size, limits.inputs_per_chip, "reduce the input's dimension")
    return found


def _per_row(j: Projection) -> Array:
    return np.diff(j.weight.indptr) if sp.issparse(j.weight) else np.full(j.weight.shape[0], j.weight.shape[1])


def _per_column(j: Projection) -> Array:
    if sp.issparse(j.weight):
        return np.bincount(j.weight.indices, minlength=j.weight.shape[1])
    return np.full(j.weight.shape[1], j.weight.shape[0])


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else float(figure.value)


def parts_of(demand: Demand, cuts: Mapping[str, Array]) -> list[tuple[Population, int, int, dict[str, float]]]:
    """Return (population, first, last, use) of every range, in the order of the populations."""
    parts = []
    for p in demand.placed:
        borders = cuts[p.name]
        use = use_of(demand, p, borders, destinations(demand, p, cuts))
        for i in range(len(borders) - 1):
            amounts = {name: float(use[name][i]) for name in use}
            parts.append((p, int(borders[i]), int(borders[i + 1]), amounts))
    return parts


def pack(uses: Sequence[Mapping[str, float]], limits: Mapping[str, float], n_cores: int) -> list[int] | None:
    """Return a core for each part, several parts a core, first fit in order of size; None when they do not fit."""
    order = sorted(range(len(uses)), key=lambda i: -max((uses[i][r] / limit for r, limit in limits.items()), default=0.0))
    free = [dict(limits) for _ in range(n_cores)]
    where = [-1] * len(uses)
    for i in order:
        core = next((c for c, room in enumerate(free) if all(uses[i][r] <= room[r] for r in limits)), None)
        if core is None:
            return None
        where[i] = core
        for r in limits:
            free[core][r] -= uses[i][r]
    return where
