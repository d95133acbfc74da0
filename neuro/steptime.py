"""The time of each step: which populations are in their window, and how long the busiest core works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .activity import Activity, Mode
from .estimate import ZERO, Estimate

Array = np.ndarray


@dataclass(frozen=True)
class Series:
    """Times of successive steps: value, low and high, each (n_steps,)."""

    value: Array
    low: Array
    high: Array

    def at_least(self, bound: Estimate) -> Series:
        """Return the times, none shorter than a bound."""
        return Series(np.maximum(self.value, bound.value), np.maximum(self.low, bound.low), np.maximum(self.high, bound.high))

    def plus(self, e: Estimate) -> Series:
        """Return the times, each longer by an estimate."""
        return Series(self.value + e.value, self.low + e.low, self.high + e.high)

    def weighted(self, weights: Array) -> Estimate:
        """Return the sum of the times, each as often as its weight."""
        value, low, high = (float(weights @ part) for part in (self.value, self.low, self.high))
        return Estimate(value, min(low, value), max(high, value))

    def until(self, steps: Array) -> Series:
        """Return the times after that many steps."""
        return Series(*(np.cumsum(part)[steps - 1] for part in (self.value, self.low, self.high)))


def timeline(activity: Activity, mode: Mode) -> tuple[Array, Array]:
    """Return the share of each population's spikes in each step, and how often each step is run an inference.

    Shares are of the samples still running, so that a step costs the same whether or not others were decided earlier.

    Returns
    -------
    share : (n_steps, n_populations) float array; populations in the order of ``activity.profile``.
    weight : (n_steps,) float array.
    """
    period = activity.n_steps + activity.extra_steps
    total = activity.n_positions * period
    length = total + activity.depth - 1 if mode == "single" else period
    if mode == "single":
        ran = length - (activity.n_steps - activity.decided_at)
        weight = 1.0 - np.cumsum(np.bincount(ran, minlength=length + 1))[:length] / len(ran)
    else:
        weight = np.full(length, activity.mean(activity.steps_pipelined) / length)
    starts = {p.name: p.start for p in activity.populations}
    share = np.zeros((length, len(activity.profile)))
    for i, (name, profile) in enumerate(activity.profile.items()):
        k = np.arange(length) - starts[name]
        step = k % period
        inside = (step < activity.n_steps) & (((k >= 0) & (k < total)) if mode == "single" else True)
        inside &= weight > 0
        share[inside, i] = profile[step[inside]] / weight[inside]
    return (share / activity.n_positions if mode == "single" else share), weight


def work(chip: Any, activity: Activity, share: Array, sources: dict[str, str], missing: list[str]) -> Series | None:
    """Return the time of the busiest core in each step; None where the chip states no times of events."""
    time, cores = chip.time, activity.cores
    update = _update_time(time)
    synapse = _synapse_time(time)
    if update is None and synapse is None:
        return None
    if cores is None:
        missing.append("work of the cores: there is no placement; deploy the network on the chip")
        return None
    if update is None:
        missing.append("time.neuron_update: the time of a neuron update has no figure")
    if synapse is None:
        missing.append("time.synaptic_operation: the time of a synaptic operation has no figure")
    idle, firing = update or (ZERO, ZERO)
    per_compartment = {p.name: p.compartments for p in activity.populations}
    events = {
        "spikes": (cores.spikes, time.spike_out),
        "messages out": (cores.messages_out, time.axon_message),
        "messages in": (cores.messages_in, time.axon_in),
    }
    sources["cores"] = "; ".join(
        f"{name} {f.value:g} s ({f.source})"
        for name, f in (
            ("update active", time.neuron_update_active),
            ("update inactive", time.neuron_update_inactive),
            ("update", time.neuron_update),
            ("synaptic operation", time.synaptic_operation),
            ("spike out", time.spike_out),
            ("message out", time.axon_message),
            ("message in", time.axon_in),
        )
        if f is not None
    )
    n = activity.n_inferences
    base = np.array([cores.compartments * e for e in (idle.value, idle.low)])
    most = float((cores.compartments * firing.high).max())
    extra = Estimate(max(firing.value - idle.value, 0.0), max(firing.low - idle.low, 0.0), max(firing.high - idle.high, 0.0))
    names = list(activity.profile)
    # (n_populations, n_cores) seconds an inference that each population's spikes cost each core
    cost = np.zeros((3, len(names), cores.n_cores))
    for i, name in enumerate(names):
        syn = _synapse_time(time, _sparse(activity, name)) or ZERO
        for k, end in enumerate(("value", "low", "high")):
            cost[k, i] += cores.synaptic_operations[name] * getattr(syn, end) / n
            if k < 2:
                cost[k, i] += cores.spikes[name] * per_compartment[name] * getattr(extra, end) / n
            for table, figure in events.values():
                if figure is not None:
                    cost[k, i] += table[name] * getattr(figure, end) / n
    value = (base[0] + share @ cost[0]).max(axis=1)
    low = (base[1] + share @ cost[1]).max(axis=1)
    high = most + share @ cost[2].max(axis=1) + _path(time, cores)
    return Series(value, np.minimum(low, value), np.maximum(high, value))


def _path(time: Any, cores: Any) -> float:
    """Return the time of the longest route of a message within a chip [s], high end."""
    total = 0.0 if time.spike_within_tile is None else time.spike_within_tile.high
    if cores.longest is not None:
        for hops, figure in zip(cores.longest, (time.hop_east_west, time.hop_north_south), strict=True):
            total += 0.0 if figure is None else hops * figure.high
    return total


def _update_time(time: Any) -> tuple[Estimate, Estimate] | None:
    """Return the times of an inactive and an active update."""
    if time.neuron_update_inactive is not None and time.neuron_update_active is not None:
        return Estimate.of(time.neuron_update_inactive), Estimate.of(time.neuron_update_active)
    if time.neuron_update is not None:
        return Estimate.of(time.neuron_update), Estimate.of(time.neuron_update)
    return None


def _synapse_time(time: Any, sparse: bool = False) -> Estimate | None:
    if sparse and time.synaptic_operation_sparse is not None:
        return Estimate.of(time.synaptic_operation_sparse)
    if time.synaptic_operation is not None:
        return Estimate.of(time.synaptic_operation)
    if time.cycles_per_synaptic_operation is not None and time.clock is not None:
        cycles, clock = time.cycles_per_synaptic_operation, time.clock
        return Estimate(cycles.value / clock.value, cycles.low / clock.high, cycles.high / clock.low)
    return None


def _sparse(activity: Activity, pre: str) -> bool:
    """Whether a projection of this population is stored as a sparse matrix."""
    return any(
        stored < n_pre * n_post
        for p in activity.populations
        for name, (n_pre, n_post, stored) in p.synapses.items()
        if name.startswith(f"{pre}->")
    )


def constant(e: Estimate, length: int) -> Series:
    """Return the same time for every step."""
    return Series(np.full(length, e.value), np.full(length, e.low), np.full(length, e.high))


def mean(times: Series) -> Estimate:
    """Return the mean time."""
    value, low, high = (float(part.mean()) for part in (times.value, times.low, times.high))
    return Estimate(value, min(low, value), max(high, value))


__all__ = ["Series", "constant", "mean", "timeline", "work"]
