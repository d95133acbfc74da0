"""The terms of a chip's energy: each a count, a figure and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activity import Activity, Mode, PopulationActivity
from .chip import TRUST
from .digital import AnnWork, DigitalOptions, MatrixWork, design
from .errors import SpecError
from .estimate import Estimate

WHOLE_CHIP = "chip"  # the "layer" of what belongs to no population
HOST = "host first layer"

# What a chip file may state to be held by another of its figures -> components then neither charged nor missing.
CONTAINED = {
    "neuron_update": ("neuron updates",),
    "routing": ("spike out", "spike routing", "axon messages"),
    "state_reset": ("state reset",),
    "input_write": ("input writes",),
    "bias_write": ("bias writes",),
    "output_read": ("output reads",),
    "barrier": ("barrier",),
}


@dataclass(frozen=True)
class Term:
    """One product of a count and a figure.

    Parameters
    ----------
    layer : population it belongs to, or ``"chip"``.
    component : what it is.
    count : an inference (a mean over the recorded inferences); unit : what is counted.
    energy : [J] an inference.
    figure, formula, source, trust : where it comes from.
    """

    layer: str
    component: str
    count: float
    unit: str
    energy: Estimate
    figure: str
    formula: str
    source: str
    trust: str


class Ledger:
    """Terms and missing figures of one chip, as they are collected."""

    def __init__(self, chip: Any, activity: Activity, mode: Mode) -> None:
        self.chip, self.activity, self.mode = chip, activity, mode
        self.terms: list[Term] = []
        self._absent: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
        self._missing: list[str] = []
        self.notes: list[str] = []
        stated = chip.energy.contained
        names = stated.value if stated is not None else ()
        self.contained = {component for name in names for component in CONTAINED.get(name, (name,))}

    def charge(self, layer: str, component: str, count: float, unit: str, name: str, *, low: float | None = None) -> None:
        """Charge ``count`` events (over all inferences) at the chip's figure ``name``, or note that it is missing.

        ``low`` is another count for the low end.
        """
        if count == 0:
            return
        figure = getattr(self.chip.energy, name)
        n = self.activity.mean(count)
        if figure is None:
            if component not in self.contained:
                reason = f"energy.{name} has no published figure"
                self.lack(component, reason, n, unit, layer)
            return
        least = n if low is None else self.activity.mean(low)
        value = Estimate(figure.value * n, figure.low * least, figure.high * n)
        self.add(layer, component, n, unit, value, name, f"{n:g} {unit} x {figure.value:g} J")

    def lack(self, component: str, reason: str, n: float, unit: str, layer: str) -> None:
        """Note that ``n`` events an inference cannot be costed; layers with the same reason are listed together."""
        self._absent.setdefault((component, reason, unit), []).append((layer, n))

    def leave_out(self, what: str) -> None:
        """Note something else that no sum holds."""
        self._missing.append(what)

    @property
    def missing(self) -> list[str]:
        """What is in no sum, in words."""
        absent = []
        for (component, reason, unit), parts in self._absent.items():
            where = ", ".join(dict.fromkeys(layer for layer, _ in parts))
            absent.append(f"{component}: {reason} ({sum(n for _, n in parts):g} {unit} an inference, in {where})")
        return absent + self._missing

    def add(self, layer: str, component: str, n: float, unit: str, value: Estimate, name: str, formula: str, *more: str) -> None:
        """Add a term that rests on the chip's figure ``name``, and on ``more``."""
        figures = [getattr(self.chip.energy, each) for each in (name, *more)]
        source = "; ".join(dict.fromkeys(f"{figure.source}, at {figure.at}" for figure in figures))
        trust = max((figure.trust for figure in figures), key=TRUST.index)  # a sum is as good as its weakest part
        named = ", ".join(f"energy.{each}" for each in (name, *more))
        self.terms.append(Term(layer, component, n, unit, value, named, formula, source, trust))


def synapses(ledger: Ledger, p: PopulationActivity) -> None:
    """Charge the synaptic operations that arrive at a population."""
    for name, count in p.synaptic_operations.items():
        n_pre, n_post, stored = p.synapses[name]
        sparse = stored < n_pre * n_post and ledger.chip.energy.synaptic_operation_sparse is not None
        figure = "synaptic_operation_sparse" if sparse else "synaptic_operation"
        ledger.charge(p.name, "synaptic operations", count, "synaptic operations", figure)


def updates(ledger: Ledger, p: PopulationActivity) -> None:
    """Charge each update once: N steps E_inactive + n_fired (E_active - E_inactive); high end: all of them active."""
    if not p.on_chip:
        return
    inactive, active = ledger.chip.energy.neuron_update_inactive, ledger.chip.energy.neuron_update_active
    total = ledger.activity.updates(p, ledger.mode)
    if inactive is None or active is None:
        ledger.charge(p.name, "neuron updates", total, "updates", "neuron_update")
        return
    fired = min(p.fired * p.compartments, total)
    seldom = fired / p.max_spikes  # a burst of k spikes may be one update
    n, f, s = (ledger.activity.mean(count) for count in (total, fired, seldom))
    low = n * inactive.low + s * max(active.low - inactive.low, 0.0)
    value = n * inactive.value + f * (active.value - inactive.value)
    high = n * max(active.high, inactive.high)
    ledger.add(
        p.name,
        "neuron updates",
        n,
        "updates",
        Estimate(value, min(low, value), max(high, value)),
        "neuron_update_inactive",
        f"{n:g} updates x {inactive.value:g} J + {f:g} in which the neuron fires x (energy.neuron_update_active "
        f"{active.value:g} J - {inactive.value:g} J); high: every update active",
        "neuron_update_active",
    )


def spikes(ledger: Ledger, p: PopulationActivity) -> None:
    """Charge sending and routing of a population's spikes."""
    figures, traffic = ledger.chip.energy, ledger.activity.traffic
    if p.spikes == 0:
        return
    # Where active updates have a figure of their own, they hold the making of the spike.
    if p.on_chip and (figures.spike_out is not None or figures.neuron_update_active is None):
        ledger.charge(p.name, "spike out", p.spikes, "spikes", "spike_out")
    if p.name not in ledger.activity.senders:
        return
    if traffic is None:
        if "spike routing" not in ledger.contained:
            n = ledger.activity.mean(p.spikes)
            ledger.lack("spike routing", "there is no placement; deploy the network on the chip", n, "spikes", p.name)
        return
    t = traffic[p.name]
    if figures.axon_message is not None:
        if p.on_chip:
            ledger.charge(p.name, "axon messages", t.messages, "messages sent", "axon_message")
        ledger.charge(p.name, "axon messages", t.messages, "messages received", "axon_in")
    if "spike routing" not in ledger.contained:
        if t.hops_east_west is None or t.hops_north_south is None:
            reason = "the chip's mesh is not known" if p.on_chip else "the host's spikes have no place on the mesh"
            ledger.lack("spike routing", reason, ledger.activity.mean(t.messages), "messages", p.name)
        else:
            # In the end every message is delivered within a tile; the low end charges that only where it never left.
            if figures.spike_within_tile is not None:
                ledger.charge(p.name, "spike routing", t.messages, "messages", "spike_within_tile", low=t.within_tile)
            ledger.charge(p.name, "spike routing", t.hops_east_west, "hops east-west", "hop_east_west")
            ledger.charge(p.name, "spike routing", t.hops_north_south, "hops north-south", "hop_north_south")
    if p.on_chip:
        ledger.charge(p.name, "links between chips", t.between_chips, "messages", "spike_between_chips")


def exchange(ledger: Ledger) -> None:
    """Charge writes, reads, resets and synchronisation."""
    a, mode = ledger.activity, ledger.mode
    for p in a.populations:
        if p.on_chip:
            ledger.charge(p.name, "input writes", p.input_writes, "biases", "bias_write")
        else:
            ledger.charge(p.name, "input writes", p.input_writes, "spikes from the host", "input_write")
        switches = p.bias_rows + (p.bias_switches if mode == "single" else 0)
        ledger.charge(p.name, "bias writes", switches, "biases", "bias_write")
        ledger.charge(p.name, "output reads", p.output_reads, "values", "output_read")
    if a.cores is None:
        ledger.leave_out("state reset: there is no placement, so the number of chips is not known")
        return
    resets = a.n_positions * a.n_inferences * a.cores.n_chips
    limit = ledger.chip.limits.cores_per_chip
    share = 1.0 if limit is None else min(a.cores.n_cores / (limit.value * a.cores.n_chips), 1.0)
    ledger.charge(WHOLE_CHIP, "state reset", resets, "resets of a chip", "state_reset_chip", low=resets * share)
    if share < 1 and ledger.chip.energy.state_reset_chip is not None:
        ledger.notes.append("state reset: the published figure is of a whole chip; the low end takes the share of cores in use")
    if a.cores.n_cores > 1 and (ledger.chip.time.barrier or ledger.chip.energy.barrier is not None):
        ledger.charge(WHOLE_CHIP, "barrier", a.steps(mode), "barriers", "barrier")


def aggregate(ledger: Ledger) -> None:
    """Charge every synaptic operation the operating-point average, which holds updates, routing and static power."""
    figure = ledger.chip.energy.aggregate_synaptic_event
    if figure is None:
        raise SpecError(f"{ledger.chip.name} states no aggregate energy per synaptic event; use figures='marginal'")
    for p in ledger.activity.populations:
        ledger.charge(p.name, "synaptic operations", p.synops, "synaptic operations", "aggregate_synaptic_event")
    ledger.notes.append(
        f"aggregate energy per synaptic event, {figure.at}: total power over event rate, not marginal; "
        "static power, updates and routing are inside it and are not added"
    )


def host_layer(
    p: PopulationActivity, current: tuple[np.ndarray, np.ndarray] | None, passes: float, often: str, host: DigitalOptions
) -> Iterator[Term]:
    """Yield the terms of a constant-current layer that a conventional design computes ``passes`` times an inference.

    Costed as the conventional side costs its own layers. ``current``: (columns, nonzero) of ``Activity.currents``; without
    it every input is taken as nonzero.
    """
    if current is None:
        columns = np.full(max(p.input_values, 1), p.input_synapses / max(p.input_values, 1))
        current = columns, np.ones(len(columns))
    columns, nonzero = current
    matrix = MatrixWork(p.name, p.input_values, p.size, columns, columns, nonzero, passes)
    cost = design(AnnWork((matrix,), 1, passes * p.input_values, passes * p.size), host)
    for name, value in cost.by_component.items():
        s = cost.sources[name]
        figure, formula = f"{cost.name}: {s.figure}", f"{name}: {s.formula}, {often}"
        yield Term(p.name, HOST, cost.macs, "multiply-accumulates", value, figure, formula, s.source, s.trust)


__all__ = [
    "HOST",
    "WHOLE_CHIP",
    "Ledger",
    "Term",
    "aggregate",
    "exchange",
    "host_layer",
    "spikes",
    "synapses",
    "updates",
]
