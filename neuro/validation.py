"""The account held against a measurement: keyword spotting on Loihi 1 (Blouw et al. 2019).

What the chip spends on events, what the platform spends above its idle, and what was measured are three
numbers. They are shown side by side and never added up here: the platform's power is taken from the same
experiment, so a sum would check the arithmetic and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activity import activity
from .energy import EnergyOptions, energy
from .engines.task import describe
from .errors import SpecError
from .estimate import Assumption, Estimate
from .latency import LatencyOptions
from .machines import PowerReading, power_readings
from .network import INPUT, SpikingNetwork, fan_out
from .recording import Recording

STEPS = 10
STEPS_SOURCE = "nengo/nengo-loihi docs/examples/keyword_spotting.ipynb (p_time = 10), branches 7c263594 and 9abc52d1"


@dataclass(frozen=True)
class Comparison:
    """Energy of one inference in three separate accounts [J].

    Parameters
    ----------
    chip_only : events on the chip, estimated at an assumed spike rate; the ends hold the ends of the rate.
    platform : power above the boot idle that runs beside the events x time of an inference, from the logs.
    measured : running power above an idle x time of an inference, by the idle that is subtracted.
    share : chip_only over each of them; a lower bound where figures are missing.
    missing : what the estimate leaves out.
    """

    rate: Estimate
    chip_only: Estimate
    platform: Estimate
    measured: dict[str, float]
    share: dict[str, Estimate]
    missing: tuple[str, ...]
    sources: tuple[str, ...]


def assumed(network: SpikingNetwork, rate: float, n_steps: int) -> Recording:
    """Return the recording of one inference in which every spiking neuron sends ``rate`` spikes a step (an assumption).

    Counts are fractional where the rate asks for it. There are no answers in it.

    Raises
    ------
    SpecError : a rate outside 0 to 1, n_steps < 1.
    """
    if not 0 <= rate <= 1 or n_steps < 1:
        raise SpecError(f"cannot assume {rate:g} spikes a neuron and step for {n_steps} steps; expected 0 to 1, and 1 or more")
    sizes = {p.name: p.size for p in network.populations if p.spiking}
    each = n_steps * rate
    return Recording(
        network_sha256=network.sha256,
        n_steps=n_steps,
        total_steps=n_steps + network.depth - 1,
        outputs=np.full((1, network.output.size), np.nan),
        predictions=np.full(1, -1),
        predictions_at=None,
        tied=np.zeros(1, bool),
        spike_counts={name: np.array([size * each]) for name, size in sizes.items()},
        step_counts={name: np.full(n_steps, size * rate) for name, size in sizes.items()},
        neuron_counts={name: np.full(size, each) for name, size in sizes.items()},
        synaptic_operations={j.name: np.array([float(fan_out(j.weight).sum()) * each]) for j in network.projections if j.pre != INPUT},
        decided_at=np.array([n_steps]),
        info={"network": describe(network), "n_positions": 1, "assumed_rate": rate},
    )


def keyword_spotting(deployment: Any, rates: Sequence[float], n_steps: int = STEPS) -> Comparison:
    """Return the three accounts of the keyword-spotting network on Loihi 1.

    Parameters
    ----------
    deployment : of the 390-256-256-29 network.
    rates : assumed spikes a neuron and step: lowest, middle and highest; spike rates were not published.
    n_steps : T.

    Source
    ------
    Blouw et al. 2019 NICE, doi:10.1145/3320288.3320304, and the power logs of abr/power_benchmarks fce95c86.
    """
    low, middle, high = sorted(rates)
    boot, awake = _reading("boot"), _reading("awake")
    power = Assumption(value=awake.idle - boot.idle, source=f"awake idle {awake.idle:g} W - boot idle {boot.idle:g} W: {awake.source}")
    host = Assumption(value=boot.seconds / n_steps, source=f"{boot.seconds:g} s an inference / {n_steps} steps: {boot.source}")
    options = EnergyOptions(latency=LatencyOptions(mode="pipelined", host_step=host), static=False, overhead=power)
    reports = [energy(activity(assumed(deployment.network, r, n_steps), deployment), deployment, options) for r in (low, middle, high)]
    events = [r.chip_only for r in reports]
    chip_only = Estimate(events[1].value, events[0].low, events[2].high)
    platform = reports[1].overhead
    assert platform is not None  # host_step gives the time
    measured = {reading.idle_of: reading.dynamic_energy for reading in (boot, awake)}
    return Comparison(
        rate=Estimate(middle, low, high),
        chip_only=chip_only,
        platform=platform,
        measured=measured,
        share={name: chip_only / value for name, value in measured.items()},
        missing=reports[1].missing,
        sources=(boot.source, f"{n_steps} steps: {STEPS_SOURCE}", "spike rates: assumed, not published"),
    )


def _reading(idle: str) -> PowerReading:
    return next(r for r in power_readings() if r.platform.startswith("Loihi (logs") and r.idle_of.startswith(idle))


__all__ = ["Comparison", "assumed", "keyword_spotting"]
