"""The terms of a chip's energy: each a count, a figure and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .activity import Activity, Mode, PopulationActivity
from .conventional import AnnWork, DigitalOptions, MatrixWork, design
from .errors import SpecError
from .estimate import Assumption, Estimate

WHOLE_CHIP = "chip"  # the "layer" of what belongs to no population
STATIC, OVERHEAD, HOST = "static", "overhead", "host first layer"
FirstLayer = Literal["once", "every_step", "not_counted"]

# Names under which a chip file states what another of its figures holds already.
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
    """Terms and missing figures as they are collected; what the chip file says is contained elsewhere is left out."""

    def __init__(self, chip: Any, activity: Activity, mode: Mode) -> None:
        self.chip, self.activity, self.mode = chip, activity, mode
        self.terms: list[Term] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        stated = chip.energy.contained
        self.contained = {
            c for name in (stated.value if stated is not None else ()) for c in CONTAINED.get(name, (name,))
        }

    def charge(
        self,
        layer: str,
        component: str,
        count: float,
        unit: str,
        name: str,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Add ``count`` events (sum over all inferences) at the chip's figure ``name``, or note that it is missing.

        ``low``, ``high``: other counts for the ends.
        """
        if count == 0 and not high:
            return
        figure = getattr(self.chip.energy, name)
        mean = self.activity.mean
        if figure is None:
            if component not in self.contained:
                self.missing.append(
                    f"{component}: energy.{name} has no published figure ({mean(count):g} {unit} an inference in {layer})"
                )
            return
        counts = [mean(c) for c in (count, count if low is None else low, count if high is None else high)]
        value = Estimate(figure.value * counts[0], figure.low * counts[1], figure.high * counts[2])
        self.add(layer, component, counts[0], unit, value, name, figure, f"{counts[0]:g} {unit} x {figure.value:g} J")

    def add(
        self, layer: str, component: str, count: float, unit: str, value: Estimate, name: str, figure: Any, formula: str
    ) -> None:
        """Add a term."""
        self.terms.append(
            Term(
                layer,
                component,
                count,
                unit,
                value,
                f"energy.{name}",
                formula,
                f"{figure.source}, at {figure.at}",
                figure.trust,
            )
        )


def _synapses(ledger: Ledger, p: PopulationActivity) -> None:
    for name, count in p.synaptic_operations.items():
        n_pre, n_post, stored = p.synapses[name]
        sparse = stored < n_pre * n_post and ledger.chip.energy.synaptic_operation_sparse is not None
        figure = "synaptic_operation_sparse" if sparse else "synaptic_operation"
        ledger.charge(p.name, "synaptic operations", count, "synaptic operations", figure)


def _updates(ledger: Ledger, p: PopulationActivity) -> None:
    """Charge each update once: N steps E_inactive + n_fired (E_active - E_inactive); high end: all of them active."""
    if not p.on_chip:
        return
    energy_, activity = ledger.chip.energy, ledger.activity
    updates = activity.updates(p, ledger.mode)
    inactive, active = energy_.neuron_update_inactive, energy_.neuron_update_active
    if inactive is None or active is None:
        ledger.charge(p.name, "neuron updates", updates, "updates", "neuron_update")
        return
    fired = min(p.fired * p.compartments, updates)
    seldom = fired / p.max_spikes  # a burst of k spikes may be one update
    n, f, s = (activity.mean(c) for c in (updates, fired, seldom))
    low = n * inactive.low + s * max(active.low - inactive.low, 0.0)
    value = n * inactive.value + f * (active.value - inactive.value)
    high = n * max(active.high, inactive.high)
    ledger.add(
        p.name,
        "neuron updates",
        n,
        "updates",
        Estimate(value, min(low, value), max(high, value)),
        "neuron_update_inactive, energy.neuron_update_active",
        inactive,
        f"{n:g} updates x {inactive.value:g} J + {f:g} in which the neuron fires x {active.value - inactive.value:g} J; "
        "high: every update active",
    )


def _spikes(ledger: Ledger, p: PopulationActivity) -> None:
    energy_, traffic = ledger.chip.energy, ledger.activity.traffic
    if p.spikes == 0:
        return
    if p.on_chip and (energy_.spike_out is not None or energy_.neuron_update_active is None):
        ledger.charge(p.name, "spike out", p.spikes, "spikes", "spike_out")
    if p.name not in ledger.activity.senders:
        return
    if traffic is None:
        if "spike routing" not in ledger.contained:
            ledger.missing.append("spike routing: there is no placement; deploy the network on the chip")
        return
    t = traffic[p.name]
    if energy_.axon_message is not None:
        if p.on_chip:
            ledger.charge(p.name, "axon messages", t.messages, "messages", "axon_message")
        ledger.charge(p.name, "axon messages", t.messages, "messages received", "axon_in")
    if "spike routing" in ledger.contained:
        pass
    elif t.hops_east_west is None or t.hops_north_south is None:
        reason = "the host's spikes have no place on the mesh" if not p.on_chip else "the chip's mesh is not known"
        ledger.missing.append(
            f"spike routing: {reason} ({ledger.activity.mean(t.messages):g} messages an inference of {p.name})"
        )
    else:
        # Every message is delivered within a tile in the end; the low end charges that only to messages that stay in theirs.
        if energy_.spike_within_tile is not None:
            ledger.charge(p.name, "spike routing", t.messages, "messages", "spike_within_tile", low=t.within_tile)
        ledger.charge(p.name, "spike routing", t.hops_east_west, "hops east-west", "hop_east_west")
        ledger.charge(p.name, "spike routing", t.hops_north_south, "hops north-south", "hop_north_south")
    if t.between_chips:
        ledger.charge(p.name, "spike routing", t.between_chips, "messages between chips", "spike_between_chips")


def _exchange(ledger: Ledger) -> None:
    """Charge resets, writes, reads and synchronisation."""
    a, mode = ledger.activity, ledger.mode
    for p in a.populations:
        if p.on_chip:
            ledger.charge(p.name, "input writes", p.input_writes, "bias writes", "bias_write")
        else:
            ledger.charge(p.name, "input writes", p.input_writes, "spikes from the host", "input_write")
        switches = p.bias_rows + (p.bias_switches if mode == "single" else 0)
        ledger.charge(p.name, "bias writes", switches, "bias writes", "bias_write")
        ledger.charge(p.name, "output reads", p.output_reads, "values read", "output_read")
    windows = a.n_positions * a.n_inferences
    if a.cores is None:
        ledger.missing.append("state reset: there is no placement, so the number of chips is not known")
    else:
        resets = windows * a.cores.n_chips
        limit = ledger.chip.limits.cores_per_chip
        share = 1.0 if limit is None else min(a.cores.n_cores / (limit.value * a.cores.n_chips), 1.0)
        ledger.charge(
            WHOLE_CHIP,
            "state reset",
            resets,
            "resets of a chip (low end: of the cores in use)",
            "state_reset_chip",
            low=resets * share,
        )
        if a.cores.n_cores > 1 and (ledger.chip.time.barrier or ledger.chip.energy.barrier is not None):
            ledger.charge(WHOLE_CHIP, "barrier", a.steps(mode), "barriers", "barrier")


def _aggregate(ledger: Ledger) -> None:
    """Charge the operating-point average, which holds updates, routing and static power, to every synaptic operation."""
    figure = ledger.chip.energy.aggregate_synaptic_event
    if figure is None:
        raise SpecError(f"{ledger.chip.name} states no aggregate energy per synaptic event; use figures='marginal'")
    for p in ledger.activity.populations:
        ledger.charge(p.name, "synaptic operations", p.synops, "synaptic operations", "aggregate_synaptic_event")
    ledger.notes.append(
        f"aggregate energy per synaptic event at {figure.at}: total power over event rate, not marginal; "
        "static power, updates and routing are inside it and are not added"
    )


def host_terms(terms: list[Term], missing: list[str], activity: Activity, options: EnergyOptions) -> None:
    """Add the first layer that the host computes for a constant current."""
    for p in activity.populations:
        if p.input_synapses == 0:
            continue
        passes = float(activity.n_positions * activity.n_inferences)
        if options.first_layer == "every_step":
            passes = activity.steps_window
        often = {"once": "once an inference", "every_step": "in every step"}.get(options.first_layer, "")
        macs = activity.mean(p.input_synapses * passes)
        if options.first_layer == "not_counted":
            missing.append(f"{HOST}: {macs:g} multiply-accumulates of {p.name} an inference are declared out")
        elif options.host_mac is not None:
            a = options.host_mac
            formula = f"{macs:g} MAC ({often}) x {a.value:g} J"
            terms.append(
                Term(
                    p.name,
                    HOST,
                    macs,
                    "multiply-accumulates",
                    a.estimate * macs,
                    "host_mac",
                    formula,
                    a.source,
                    "assumed",
                )
            )
        else:
            terms.extend(_host_design(p, macs, passes / activity.n_inferences, often, options.host))


def _host_design(
    p: PopulationActivity, macs: float, passes: float, often: str, options: DigitalOptions
) -> Iterable[Term]:
    """Cost the first layer as the conventional side costs its own, every input taken as nonzero (inputs are not recorded)."""
    import numpy as np

    columns = np.full(max(p.input_values, 1), p.input_synapses / max(p.input_values, 1))
    ones = np.ones(len(columns))
    matrix = MatrixWork(p.name, p.input_values, p.size, columns, columns, ones, passes)
    cost = design(AnnWork((matrix,), 1, passes * p.input_values, passes * p.size), options)
    for name, e in cost.by_component.items():
        figure, formula, source = cost.sources[name]
        source, _, trust = source.rpartition(" [")
        yield Term(
            p.name,
            HOST,
            macs,
            "multiply-accumulates",
            e,
            f"{cost.name}: {figure}",
            f"{name}: {formula}, {often}",
            source,
            trust.rstrip("]"),
        )


