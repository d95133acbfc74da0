"""What a run did on the cores of a placement: routed messages by population, work by core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from .network import INPUT, Weight, fan_out
from .recording import Recording

Array = np.ndarray


@dataclass(frozen=True)
class Traffic:
    """Routed messages of one population, summed over all inferences: one for each spike and core it goes to.

    within_tile : messages to a core of the sender's own tile. between_chips : messages to another chip.
    hops_east_west, hops_north_south : tile hops; None where the mesh is not known or the host is the sender.
    """

    messages: float
    within_tile: float
    between_chips: float
    hops_east_west: float | None
    hops_north_south: float | None

    def scaled(self, factor: float) -> Traffic:
        """Return every count times a factor."""
        return Traffic(
            self.messages * factor,
            self.within_tile * factor,
            self.between_chips * factor,
            None if self.hops_east_west is None else self.hops_east_west * factor,
            None if self.hops_north_south is None else self.hops_north_south * factor,
        )

    @property
    def hops(self) -> float | None:
        """Tile hops in both directions."""
        if self.hops_east_west is None or self.hops_north_south is None:
            return None
        return self.hops_east_west + self.hops_north_south


@dataclass(frozen=True, eq=False)
class Cores:
    """Counts by core, summed over all inferences; arrays are (n_cores,).

    Parameters
    ----------
    chip, tile : where each core is (number of the tile within its chip).
    compartments : in use.
    spikes, messages_out : {population: sent by its neurons in this core}.
    synaptic_operations, messages_in : {sending population: arriving at this core}.
    longest : (east-west, north-south) tile hops of the message that travels farthest; None where the mesh is not known.
    n_chips, tiles_per_chip : in use (tiles: of the chip that uses most).
    """

    chip: Array
    tile: Array
    compartments: Array
    spikes: Mapping[str, Array]
    messages_out: Mapping[str, Array]
    synaptic_operations: Mapping[str, Array]
    messages_in: Mapping[str, Array]
    longest: tuple[int, int] | None
    n_chips: int
    tiles_per_chip: int

    @property
    def n_cores(self) -> int:
        """Cores in use."""
        return len(self.chip)

    def scaled(self, factor: float) -> Cores:
        """Return every count of spikes times a factor."""

        def times(table: Mapping[str, Array]) -> dict[str, Array]:
            return {name: counts * factor for name, counts in table.items()}

        return replace(
            self,
            spikes=times(self.spikes),
            messages_out=times(self.messages_out),
            synaptic_operations=times(self.synaptic_operations),
            messages_in=times(self.messages_in),
        )


def route(recording: Recording, deployment: Any) -> tuple[dict[str, Traffic], Cores]:
    """Return the messages of each population and the counts of each core.

    Every number is exact in sum over the run: it follows from the spikes of each neuron (``neuron_counts``),
    the core of each neuron and the synapses between them.

    Parameters
    ----------
    recording : of the deployment's network.
    deployment : with ``network`` and ``placement``.
    """
    network, placement = deployment.network, deployment.placement
    n_cores = len(placement.cores)
    counts = recording.neuron_counts
    where = {p.name: placement.core_of_neuron(p.name) for p in network.populations}
    spikes = {name: _by_core(where[name], c, n_cores) for name, c in counts.items()}
    out = {name: np.zeros(n_cores) for name in counts}
    ops = {name: np.zeros(n_cores) for name in counts}
    arriving = {name: np.zeros(n_cores) for name in counts}
    sums: dict[str, list[float | None]] = {name: [0.0, 0.0, 0.0, 0.0, 0.0] for name in counts}
    routes = {r.name: r for r in placement.routes}
    for j in network.projections:
        if j.pre == INPUT:
            continue
        delivered = _delivered(recording, j.name, counts[j.pre], j.weight)
        r = routes[j.name]
        out[j.pre] += _by_core(where[j.pre], counts[j.pre] * r.messages, n_cores) * delivered
        total = sums[j.pre]
        for k, part in enumerate((r.messages, r.within_tile, r.between_chips, r.hops_east_west, r.hops_north_south)):
            total[k] = None if part is None or total[k] is None else total[k] + float(counts[j.pre] @ part) * delivered  # type: ignore[operator]
        for core in placement.cores_of(j.post):
            for part in placement.cores[core].parts:
                if part.population == j.post:
                    synapses = _synapses_to(j.weight, part.first, part.last)
                    ops[j.pre][core] += float(counts[j.pre] @ synapses) * delivered
                    arriving[j.pre][core] += float(counts[j.pre] @ (synapses > 0)) * delivered
    compartments = [sum(p.size * placement.compartments.get(p.population, 1) for p in core.parts) for core in placement.cores]
    cores = Cores(
        chip=np.array([c.chip for c in placement.cores], dtype=np.int64),
        tile=np.array([c.tile for c in placement.cores], dtype=np.int64),
        compartments=np.array(compartments, dtype=np.int64),
        spikes=spikes,
        messages_out=out,
        synaptic_operations=ops,
        messages_in=arriving,
        longest=_longest(network, placement),
        n_chips=int(placement.n_chips),
        tiles_per_chip=int(placement.tiles_per_chip),
    )
    return {name: Traffic(*total) for name, total in sums.items()}, cores  # type: ignore[arg-type]


def _by_core(where: Array, counts: Array, n_cores: int) -> Array:
    if len(where) == 0:  # an encoder: the host sends its spikes
        return np.zeros(n_cores)
    return np.bincount(where, weights=counts, minlength=n_cores)


def _delivered(recording: Recording, name: str, counts: Array, weight: Weight) -> float:
    """Return the share of the spikes that arrived: those of a sequence's last input have no next one."""
    sent = float(counts @ fan_out(weight))
    return float(recording.synaptic_operations[name].sum()) / sent if sent else 1.0


def _synapses_to(weight: Weight, first: int, last: int) -> Array:
    """Return the synapses from each presynaptic neuron to postsynaptic neurons [first, last), (n_pre,)."""
    if sp.issparse(weight):
        rows = sp.csr_array(weight)[first:last]
        return np.bincount(rows.indices, minlength=rows.shape[1])
    return np.full(weight.shape[1], last - first)


def _longest(network: Any, placement: Any) -> tuple[int, int] | None:
    """Return the hops of the farthest message within a chip."""
    if any(c.x is None or c.y is None for c in placement.cores):
        return None
    x, y, chip = (np.array([getattr(c, k) for c in placement.cores]) for k in ("x", "y", "chip"))
    best = (0, 0)
    for j in network.projections:
        a, b = np.array(placement.cores_of(j.pre), int), np.array(placement.cores_of(j.post), int)
        if j.pre == INPUT or len(a) == 0 or len(b) == 0:
            continue
        dx, dy = np.abs(x[a][:, None] - x[b]), np.abs(y[a][:, None] - y[b])
        dx, dy = (np.where(chip[a][:, None] == chip[b], d, 0) for d in (dx, dy))
        far = np.unravel_index(int(np.argmax(dx + dy)), dx.shape)
        if dx[far] + dy[far] > sum(best):
            best = (int(dx[far]), int(dy[far]))
    return best


__all__ = ["Cores", "Traffic", "route"]
