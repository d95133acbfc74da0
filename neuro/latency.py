"""How long an inference takes on a chip: steps of the pipeline times the time of a step.

    t_step = max( t_barrier + max_core( N t_upd + synops t_syn + ... ), t_host )      or the chip's fixed tick
    t_inf  = sum over T + L - 1 steps, or over T in a full pipeline

The work of a step is that of the mean inference: spikes of a population in each step of its window, synaptic
operations of each core. The largest core of the mean is at most the mean of the largest core, so the
high end adds up the largest cores of all sending populations, charges every neuron update as active,
and adds the longest route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from .activity import Activity, Mode, located
from .errors import SpecError
from .estimate import ZERO, Assumption, Estimate

Array = np.ndarray


class LatencyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How inferences follow each other and what bounds a step.

    ``mode``: ``"single"`` (T + L - 1 steps) or ``"pipelined"`` (T steps; needs a chip that resets and loads populations
    separately);
    ``host_step``: ``"none"`` (the chip runs freely), ``"chip"`` (the chip file's figure), or a time [s] and its source;
    ``tick``: of a chip with a fixed step, its nominal or its fastest one.
    """

    mode: Mode = "single"
    host_step: Literal["none", "chip"] | Assumption = "none"
    tick: Literal["nominal", "fastest"] = "nominal"


@dataclass(frozen=True)
class LatencyReport:
    """Time of an inference [s].

    Parameters
    ----------
    mode : ``"single"`` or ``"pipelined"``.
    steps : an inference, mean.
    step : mean time of a step; None where no figure bounds it.
    per_inference : time an inference takes of the chip; in a pipeline, the time between two answers.
    throughput : inferences a second in a full pipeline [1/s].
    decision_mean, decision_p95 : time from the first step to the decision of a single inference; mean, 95th percentile.
    bounds : {"cores" | "barrier" | "host" | "tick": time of an inference that this alone would take}.
    binding : the bound that decides; "" where there is none.
    sources : {bound: figures, formula and source}.
    missing : what has no figure, so that the time is a lower bound; notes : what was assumed.
    """

    mode: Mode
    steps: float
    step: Estimate | None
    per_inference: Estimate | None
    throughput: Estimate | None
    decision_mean: Estimate | None
    decision_p95: Estimate | None
    bounds: Mapping[str, Estimate]
    binding: str
    sources: Mapping[str, str]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def energy_delay_product(self, energy: Estimate) -> Estimate | None:
        """Return energy times the time to the decision [J s]."""
        return None if self.decision_mean is None else energy * self.decision_mean


@dataclass(frozen=True)
class _Series:
    """Times of successive steps: value, low and high, each (n_steps,)."""

    value: Array
    low: Array
    high: Array

    def at_least(self, bound: Estimate) -> _Series:
        return _Series(
            np.maximum(self.value, bound.value), np.maximum(self.low, bound.low), np.maximum(self.high, bound.high)
        )

    def plus(self, e: Estimate) -> _Series:
        return _Series(self.value + e.value, self.low + e.low, self.high + e.high)

    def weighted(self, weights: Array) -> Estimate:
        value, low, high = (float(weights @ part) for part in (self.value, self.low, self.high))
        return Estimate(value, min(low, value), max(high, value))

    def until(self, steps: Array) -> _Series:
        """Return the times after that many steps."""
        return _Series(*(np.cumsum(part)[steps - 1] for part in (self.value, self.low, self.high)))


def latency(activity: Activity, deployment: Any, options: LatencyOptions | None = None) -> LatencyReport:
    """Return the time of an inference of a recorded run on its chip.

    Parameters
    ----------
    activity : of the run.
    deployment : that ran; or a Chip, which bounds a step only by its tick or host.
    options : single or pipelined, host-bound or not.

    Raises
    ------
    SpecError : the activity is of another network.

    Source
    ------
    Davies et al. 2018, doi:10.1109/MM.2018.112130359, Table 2; Boyle et al. 2025, doi:10.1109/TCAD.2025.3537971.
    """
    options = options or LatencyOptions()
    activity = located(activity, deployment)
    chip = getattr(deployment, "chip", deployment)
    missing: list[str] = []
    notes: list[str] = []
    sources: dict[str, str] = {}
    n = activity.n_inferences
    single, alive = _timeline(activity, "single")
    period, weight = _timeline(activity, "pipelined")
    tick = _tick(chip, options, sources)
    host = _host(chip, activity, options, sources, missing)
    barrier = _barrier(chip, activity, sources, missing, notes) if tick is None else None
    work = {
        name: _work(chip, activity, times, sources, missing)
        for name, times in (("single", single), ("pipelined", period))
    }
    series: dict[str, _Series | None] = {}
    for name, times in work.items():
        length = len(single if name == "single" else period)
        if tick is not None:
            series[name] = _constant(tick, length)
        elif times is not None or host is not None:
            chip_bound = times.plus(barrier or ZERO) if times is not None else _constant(ZERO, length)
            series[name] = chip_bound.at_least(host) if host is not None else chip_bound
        else:
            series[name] = None
    if options.mode == "pipelined":
        notes.append("pipelined: holds on a chip that can reset and load populations separately")
    weights = alive if options.mode == "single" else weight
    chosen = series[options.mode]
    steps = activity.mean(activity.steps(options.mode))
    bounds = _bounds(work[options.mode], weights, {"barrier": barrier, "host": host, "tick": tick})
    per = None if chosen is None else chosen.weighted(weights)
    whole, flow = series["single"], series["pipelined"]
    mean = p95 = through = None
    if whole is not None and flow is not None:
        finished = len(single) - (activity.n_steps - activity.decided_at)
        after = whole.until(finished)
        mean = _mean(after)
        late = whole.until(np.array([int(np.ceil(np.percentile(finished, 95)))]))
        p95 = Estimate(float(late.value[0]), float(late.low[0]), float(late.high[0]))
        between = flow.weighted(weight)
        if between.low > 0:
            through = Estimate(1 / between.value, 1 / between.high, 1 / between.low)
    return LatencyReport(
        mode=options.mode,
        steps=steps,
        step=None if per is None or steps == 0 else per / steps,
        per_inference=per,
        throughput=through,
        decision_mean=mean,
        decision_p95=p95,
        bounds=bounds,
        binding=_binding(bounds),
        sources=sources,
        missing=tuple(dict.fromkeys(missing)),
        notes=tuple(notes + ([f"times are of the mean of {n} inferences"] if n > 1 else [])),
    )


def _timeline(activity: Activity, mode: Mode) -> tuple[list[dict[str, float]], Array]:
    """Return the share of each population's spikes in each step, and how often each step is run an inference.

    Shares are of the samples still running, so that a step costs the same whether or not others were decided earlier.
    """
    steps = activity.n_steps + activity.extra_steps
    total = activity.n_positions * steps
    length = total + activity.depth - 1 if mode == "single" else steps
    ran = total + activity.depth - 1 - (activity.n_steps - activity.decided_at)
    if mode == "single":
        alive = (ran[None, :] > np.arange(length)[:, None]).mean(axis=1)
        rows = []
        for t in range(length):
            row = {}
            for p in activity.populations:
                k = t - p.start
                if p.name in activity.profile and 0 <= k < total and k % steps < activity.n_steps and alive[t] > 0:
                    row[p.name] = float(activity.profile[p.name][k % steps]) / activity.n_positions / alive[t]
            rows.append(row)
        return rows, alive
    per_step = activity.mean(activity.steps_pipelined) / length
    rows = []
    for t in range(length):
        row = {}
        for p in activity.populations:
            k = (t - p.start) % steps
            if p.name in activity.profile and k < activity.n_steps:
                row[p.name] = float(activity.profile[p.name][k]) / per_step
        rows.append(row)
    return rows, np.full(length, per_step)


def _work(
    chip: Any, activity: Activity, rows: Sequence[Mapping[str, float]], sources: dict[str, str], missing: list[str]
) -> _Series | None:
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
    extra = Estimate(
        max(firing.value - idle.value, 0.0), max(firing.low - idle.low, 0.0), max(firing.high - idle.high, 0.0)
    )
    names = sorted(cores.spikes)
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
    share = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    value = (base[0] + share @ cost[0]).max(axis=1)
    low = (base[1] + share @ cost[1]).max(axis=1)
    high = most + share @ cost[2].max(axis=1) + _path(time, cores)
    return _Series(value, np.minimum(low, value), np.maximum(high, value))


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


def _tick(chip: Any, options: LatencyOptions, sources: dict[str, str]) -> Estimate | None:
    figure = chip.time.tick
    if options.tick == "fastest":
        figure = chip.time.tick_fastest
        if figure is None:
            raise SpecError(f"{chip.name} states no fastest tick; use tick='nominal'")
    if figure is not None:
        sources["tick"] = f"{figure.value:g} s at {figure.at} ({figure.source}) [{figure.trust}]"
    return None if figure is None else Estimate.of(figure)


def _host(
    chip: Any, activity: Activity, options: LatencyOptions, sources: dict[str, str], missing: list[str]
) -> Estimate | None:
    if isinstance(options.host_step, Assumption):
        sources["host"] = f"{options.host_step.value:g} s a step ({options.host_step.source}) [assumed]"
        return options.host_step.estimate
    if options.host_step == "none":
        missing.append("host: time of input, output and host work a step is left out (host_step='none')")
        return None
    many = activity.cores is not None and activity.cores.n_chips > 1
    figure = chip.time.step_host_chips if many else chip.time.step_host
    if figure is None:
        raise SpecError(
            f"{chip.name} states no host-bound step of {'several chips' if many else 'one chip'}; give its time"
        )
    sources["host"] = f"{figure.value:g} s a step at {figure.at} ({figure.source}) [{figure.trust}]"
    return Estimate.of(figure)


def _barrier(
    chip: Any, activity: Activity, sources: dict[str, str], missing: list[str], notes: list[str]
) -> Estimate | None:
    points = chip.time.barrier
    if activity.cores is None:
        return None
    if not points:
        if activity.cores.n_cores > 1:
            missing.append("time.barrier: the time of synchronising the cores has no figure")
        return None
    tiles = activity.cores.tiles_per_chip
    one = interpolate(points, tiles)
    sources["barrier"] = f"{one.value:g} s for {tiles} tiles ({points[0].time.source}) [{points[0].time.trust}]"
    if all(p.size != tiles for p in points):
        notes.append(
            f"barrier of {tiles} tiles: interpolated between published sizes; the ends are those of its neighbours"
        )
    if activity.cores.n_chips == 1:
        return one
    known = [p for p in chip.time.barrier_chips if p.size >= activity.cores.n_chips]
    if not known:
        missing.append(
            f"time.barrier_chips: no figure for {activity.cores.n_chips} chips; the barrier of one chip is used"
        )
        return one
    figure = known[0].time
    sources["barrier"] += f"; up to {figure.value:g} s for {known[0].size} chips ({figure.source}) [{figure.trust}]"
    notes.append(f"barrier of {activity.cores.n_chips} chips: that of {known[0].size} chips; low end: that of one chip")
    return Estimate(max(figure.value, one.value), one.low, max(figure.high, one.high))


def interpolate(points: Sequence[Any], size: int) -> Estimate:
    """Return the barrier time of ``size`` tiles: a published one, or on the line between two, with their ends."""
    below = [p for p in points if p.size <= size]
    above = [p for p in points if p.size >= size]
    if not below:
        return Estimate(points[0].time.value, 0.0, points[0].time.high)
    a = below[-1]
    if not above:
        if len(points) < 2:
            return Estimate.of(a.time)
        b = points[-2]
        slope = (a.time.value - b.time.value) / (a.size - b.size)
        return Estimate(a.time.value, a.time.low, a.time.high + max(slope, 0.0) * (size - a.size))
    b = above[0]
    if a.size == b.size:
        return Estimate.of(a.time)
    value = a.time.value + (b.time.value - a.time.value) * (size - a.size) / (b.size - a.size)
    return Estimate(value, min(a.time.low, b.time.low), max(a.time.high, b.time.high))


def _bounds(work: _Series | None, weights: Array, fixed: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    bounds = {name: e * float(weights.sum()) for name, e in fixed.items() if e is not None}
    if work is not None:
        bounds["cores"] = work.weighted(weights)
    return bounds


def _binding(bounds: Mapping[str, Estimate]) -> str:
    if "tick" in bounds:
        return "tick"
    chip = bounds.get("cores", ZERO).value + bounds.get("barrier", ZERO).value
    if "host" in bounds and bounds["host"].value >= chip:
        return "host"
    parts = {name: bounds[name].value for name in ("cores", "barrier") if name in bounds}
    return max(parts, key=lambda name: parts[name]) if parts else ""


def _constant(e: Estimate, length: int) -> _Series:
    return _Series(np.full(length, e.value), np.full(length, e.low), np.full(length, e.high))


def _mean(times: _Series) -> Estimate:
    value, low, high = (float(part.mean()) for part in (times.value, times.low, times.high))
    return Estimate(value, min(low, value), max(high, value))


__all__ = ["LatencyOptions", "LatencyReport", "interpolate", "latency"]
