"""Where the spiking network's energy equals the ANN's: as a spike rate, a number of steps, a batch size.

The spiking network's energy grows with its spikes and steps, the ANN's falls with its batch size, both
monotonically, so that each axis has at most one crossing. It is found by bisection on the full account (every term,
its ends included), and stated also where the spiking network loses everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from .activity import Activity
from .digital import AnnWork, DigitalOptions, design
from .energy import EnergyOptions, energy
from .estimate import Estimate

Boundary = Literal["dynamic", "chip_only", "total"]
Verdict = Literal["crosses", "never", "always", "unknown"]
MOST_STEPS = 2**16
MOST_BATCH = 2**20


@dataclass(frozen=True)
class Crossing:
    """Where the two energies are equal along one axis.

    Parameters
    ----------
    axis : ``"spike rate"`` (spikes a neuron and step), ``"steps"`` (T) or ``"batch"`` (B of the ANN).
    at : the value of the axis; None where the energies do not cross.
    low, high : the crossings at the ends of the estimates; None where those do not cross.
    verdict : ``"crosses"``, ``"never"`` (it costs more everywhere), ``"always"`` (less everywhere) or ``"unknown"``.
    words : the same in a sentence.
    """

    axis: str
    at: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    words: str


@dataclass(frozen=True)
class BreakEven:
    """The comparison at the measured point, and where it turns.

    Parameters
    ----------
    snn, ann : energy an inference inside the same boundary [J].
    boundary : which part of the spiking network's account is compared.
    spike_rate : measured, spikes a neuron and step; spikes_per_synapse : measured, an inference.
    n_steps, batch_size : measured T; B of the ANN.
    rate, steps, batch : the crossings. spikes_per_synapse_at : at the crossing of the rate.
    partial : the spiking network's energy is a lower bound, because figures are missing.
    """

    snn: Estimate
    ann: Estimate
    boundary: Boundary
    spike_rate: float
    spikes_per_synapse: float
    n_steps: int
    batch_size: int
    rate: Crossing
    steps: Crossing
    batch: Crossing
    spikes_per_synapse_at: float | None
    partial: bool


def break_even(
    activity: Activity,
    deployment: Any,
    work: AnnWork,
    *,
    ann: DigitalOptions | None = None,
    options: EnergyOptions | None = None,
    boundary: Boundary = "dynamic",
) -> BreakEven:
    """Return where the energies of the two are equal.

    Parameters
    ----------
    activity : of the spiking network.
    deployment : its chip, as in :func:`neuro.energy.energy`.
    work : of the ANN on the same inputs.
    ann : the ANN's design; the same design computes the spiking network's constant-current first layer (unless the options
        give ``host_mac`` or leave it out), so that both sides share node, width and batch size.
    options : of the spiking network's account.
    boundary : ``"dynamic"`` stands beside a conventional design, which has neither static power nor overhead.
    """
    ann, options = ann or DigitalOptions(), _trimmed(options or EnergyOptions(), boundary)
    options = msgspec.structs.replace(options, host=ann)
    report = energy(activity, deployment, options)
    here: Estimate = getattr(report, boundary)
    there = design(work, ann).total

    def at_rate(factor: float) -> Estimate:
        return _cost(activity.scaled(rate=factor), deployment, options, boundary)

    def at_steps(n_steps: float) -> Estimate:
        return _cost(activity.scaled(n_steps=int(n_steps)), deployment, options, boundary)

    def at_batch(batch: float) -> Estimate:
        return design(work, msgspec.structs.replace(ann, batch=int(batch))).total

    rate = _rate(at_rate, there, activity.spike_rate)
    scale = None if rate.at is None else rate.at / activity.spike_rate
    return BreakEven(
        snn=here,
        ann=there,
        boundary=boundary,
        spike_rate=activity.spike_rate,
        spikes_per_synapse=activity.spikes_per_synapse,
        n_steps=activity.n_steps,
        batch_size=ann.batch,
        rate=rate,
        steps=_steps(at_steps, there, activity),
        batch=_batch(at_batch, here),
        spikes_per_synapse_at=None if scale is None else scale * activity.spikes_per_synapse,
        partial=report.partial,
    )


def against_rate(
    activity: Activity,
    deployment: Any,
    rates: Sequence[float],
    options: EnergyOptions | None = None,
    boundary: Boundary = "dynamic",
) -> list[Estimate]:
    """Return the spiking network's energy at spike rates (spikes a neuron and step), for a chart [J]."""
    options = _trimmed(options or EnergyOptions(), boundary)
    return [_cost(activity.scaled(rate=r / activity.spike_rate), deployment, options, boundary) for r in rates]


def against_steps(
    activity: Activity,
    deployment: Any,
    steps: Sequence[int],
    options: EnergyOptions | None = None,
    boundary: Boundary = "dynamic",
) -> list[Estimate]:
    """Return the spiking network's energy for numbers of steps at the measured spikes a step, for a chart [J]."""
    options = _trimmed(options or EnergyOptions(), boundary)
    return [_cost(activity.scaled(n_steps=t), deployment, options, boundary) for t in steps]


def against_batch(work: AnnWork, batches: Sequence[int], ann: DigitalOptions | None = None) -> list[Estimate]:
    """Return the ANN's energy at batch sizes, for a chart [J]."""
    base = ann or DigitalOptions()
    return [design(work, msgspec.structs.replace(base, batch=b)).total for b in batches]


def _trimmed(options: EnergyOptions, boundary: Boundary) -> EnergyOptions:
    """Leave out what the boundary leaves out, so that its time need not be worked out again and again."""
    return options if boundary == "total" else msgspec.structs.replace(options, static=False, overhead=None)


def _cost(activity: Activity, deployment: Any, options: EnergyOptions, boundary: Boundary) -> Estimate:
    value: Estimate = getattr(energy(activity, deployment, options), boundary)
    return value


def _rate(at: Callable[[float], Estimate], ann: Estimate, measured: float) -> Crossing:
    if measured == 0:
        return Crossing("spike rate", None, None, None, "unknown", "the recorded network is silent: no rate to scale")
    most = 1.0 / measured  # one spike a neuron and step

    def cross(end: str, budget: float) -> tuple[Verdict, float | None]:
        def over(factor: float) -> bool:
            return bool(getattr(at(factor), end) > budget)

        if over(0.0):
            return "never", None
        if not over(most):
            return "always", None
        low, high = 0.0, most
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if over(middle) else (middle, high)
        return "crosses", low * measured

    verdict, value = cross("value", ann.value)
    _, least = cross("high", ann.low)
    _, greatest = cross("low", ann.high)
    words = {
        "never": "it costs more than the ANN even without a spike: updates and fixed costs alone exceed it",
        "always": "it costs less than the ANN even at one spike a neuron and step",
        "crosses": f"it costs less than the ANN below {value or 0:.3g} spikes a neuron and step (here: {measured:.3g})",
    }[verdict]
    return Crossing("spike rate", value, least, greatest, verdict, words)


def _steps(at: Callable[[float], Estimate], ann: Estimate, activity: Activity) -> Crossing:
    if (activity.decided_at != activity.n_steps).any():
        return Crossing("steps", None, None, None, "unknown", "the run left early; record it without early exit to vary T")

    def cross(end: str, budget: float) -> tuple[Verdict, float | None]:
        def excess(n_steps: int) -> float:
            return float(getattr(at(n_steps), end)) - budget

        if excess(1) > 0:
            return "never", None
        if excess(MOST_STEPS) <= 0:
            return "always", None
        low, high = 1, MOST_STEPS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if excess(middle) > 0 else (middle, high)
        below, above = excess(low), excess(high)
        return "crosses", low + below / (below - above)

    verdict, value = cross("value", ann.value)
    _, least = cross("high", ann.low)
    _, greatest = cross("low", ann.high)
    words = {
        "never": "it costs more than the ANN even with one step",
        "always": f"it costs less than the ANN up to {MOST_STEPS} steps",
        "crosses": f"it costs less than the ANN up to T = {value or 0:.3g} at the measured spikes a step "
        f"(measured: T = {activity.n_steps})",
    }[verdict]
    return Crossing("steps", value, least, greatest, verdict, words)


def _batch(at: Callable[[float], Estimate], snn: Estimate) -> Crossing:
    def cross(end: str, budget: float) -> tuple[Verdict, float | None]:
        def cheaper(batch: int) -> bool:
            return bool(getattr(at(batch), end) <= budget)

        if cheaper(1):
            return "never", None
        if not cheaper(MOST_BATCH):
            return "always", None
        low, high = 1, MOST_BATCH
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if cheaper(middle) else (middle, high)
        return "crosses", float(high)

    verdict, value = cross("value", snn.value)
    _, least = cross("low", snn.high)
    _, greatest = cross("high", snn.low)
    words = {
        "never": "the ANN costs less already at batch 1",
        "always": "the ANN costs more at every batch size",
        "crosses": f"the ANN costs less from batch {value or 0:.0f} on",
    }[verdict]
    return Crossing("batch", value, least, greatest, verdict, words)


__all__ = ["BreakEven", "Crossing", "against_batch", "against_rate", "against_steps", "break_even"]
