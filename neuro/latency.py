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
from .steptime import Series, constant, timeline, work
from .steptime import mean as mean_of

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
    single, alive = timeline(activity, "single")
    period, weight = timeline(activity, "pipelined")
    tick = _tick(chip, options, sources)
    host = _host(chip, activity, options, sources, missing) if tick is None else None
    barrier = _barrier(chip, activity, sources, missing, notes) if tick is None else None
    busy = {name: work(chip, activity, times, sources, missing) for name, times in (("single", single), ("pipelined", period))}
    series: dict[str, Series | None] = {}
    for name, times in busy.items():
        length = len(single if name == "single" else period)
        if tick is not None:
            series[name] = constant(tick, length)
        elif times is not None or host is not None:
            chip_bound = times.plus(barrier or ZERO) if times is not None else constant(ZERO, length)
            series[name] = chip_bound.at_least(host) if host is not None else chip_bound
        else:
            series[name] = None
    if options.mode == "pipelined":
        notes.append("pipelined: holds on a chip that can reset and load populations separately")
    weights = alive if options.mode == "single" else weight
    chosen = series[options.mode]
    steps = activity.mean(activity.steps(options.mode))
    bounds = _bounds(busy[options.mode], weights, {"barrier": barrier, "host": host, "tick": tick})
    per = None if chosen is None else chosen.weighted(weights)
    whole, flow = series["single"], series["pipelined"]
    mean = p95 = through = None
    if whole is not None and flow is not None:
        finished = len(single) - (activity.n_steps - activity.decided_at)
        after = whole.until(finished)
        mean = mean_of(after)
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


def _tick(chip: Any, options: LatencyOptions, sources: dict[str, str]) -> Estimate | None:
    figure = chip.time.tick
    if options.tick == "fastest":
        figure = chip.time.tick_fastest
        if figure is None:
            raise SpecError(f"{chip.name} states no fastest tick; use tick='nominal'")
    if figure is not None:
        sources["tick"] = f"{figure.value:g} s at {figure.at} ({figure.source}) [{figure.trust}]"
    return None if figure is None else Estimate.of(figure)


def _host(chip: Any, activity: Activity, options: LatencyOptions, sources: dict[str, str], missing: list[str]) -> Estimate | None:
    if isinstance(options.host_step, Assumption):
        sources["host"] = f"{options.host_step.value:g} s a step ({options.host_step.source}) [assumed]"
        return options.host_step.estimate
    if options.host_step == "none":
        missing.append("host: time of input, output and host work a step is left out (host_step='none')")
        return None
    many = activity.cores is not None and activity.cores.n_chips > 1
    figure = chip.time.step_host_chips if many else chip.time.step_host
    if figure is None:
        raise SpecError(f"{chip.name} states no host-bound step of {'several chips' if many else 'one chip'}; give its time")
    sources["host"] = f"{figure.value:g} s a step at {figure.at} ({figure.source}) [{figure.trust}]"
    return Estimate.of(figure)


def _barrier(chip: Any, activity: Activity, sources: dict[str, str], missing: list[str], notes: list[str]) -> Estimate | None:
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
        notes.append(f"barrier of {tiles} tiles: interpolated between published sizes; the ends are those of its neighbours")
    if activity.cores.n_chips == 1:
        return one
    known = [p for p in chip.time.barrier_chips if p.size >= activity.cores.n_chips]
    if not known:
        missing.append(f"time.barrier_chips: no figure for {activity.cores.n_chips} chips; the barrier of one chip is used")
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


def _bounds(busy: Series | None, weights: Array, fixed: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    bounds = {name: e * float(weights.sum()) for name, e in fixed.items() if e is not None}
    if busy is not None:
        bounds["cores"] = busy.weighted(weights)
    return bounds


def _binding(bounds: Mapping[str, Estimate]) -> str:
    if "tick" in bounds:
        return "tick"
    chip = bounds.get("cores", ZERO).value + bounds.get("barrier", ZERO).value
    if "host" in bounds and bounds["host"].value >= chip:
        return "host"
    parts = {name: bounds[name].value for name in ("cores", "barrier") if name in bounds}
    return max(parts, key=lambda name: parts[name]) if parts else ""


__all__ = ["LatencyOptions", "LatencyReport", "interpolate", "latency"]
