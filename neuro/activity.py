"""What a run did, counted: spikes, synaptic operations, neuron updates, writes and reads, routed messages.

Counts are sums over all recorded inferences, whole numbers as long as they come from a recording;
``Activity.mean`` divides by the number of inferences.

One inference of T steps through L populations takes T + L - 1 steps of the chip, in each of which every
neuron is updated, also outside its population's window; where inferences follow each other as a
pipeline it takes T. The pre-steps of a presentation protocol come on top, and their spikes, synaptic operations
and updates are counted like those of the T steps. A constant current costs N_in N_out multiply-accumulates once an inference on the host, and
N_out writes of a bias; a spike-coded input costs its spikes times their fan-out, and a write a spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from .engines.task import describe
from .errors import SpecError
from .network import INPUT, SpikingNetwork, fan_out
from .neurobench import NeuroBench, PreSteps, given_inputs, neurobench, pre_steps, window_steps
from .recording import Recording
from .traffic import Cores, Traffic, route

Array = np.ndarray
Mode = Literal["single", "pipelined"]


@dataclass(frozen=True)
class PopulationActivity:
    """Counts of one population, summed over all inferences.

    Parameters
    ----------
    name, size, start : of the population.
    on_chip : False for an input that the host encodes as spikes.
    compartments : that a neuron takes on the chip (2 where reset by subtraction is a construction).
    leaky : whether the potential decays.
    spikes : sent (bursts and signed spikes by magnitude), those of a protocol's pre-steps included.
    fired : (neuron, step) pairs with a spike, where a neuron sends at most one a step; otherwise at most that many.
    max_spikes : the most spikes of a neuron in a step.
    synaptic_operations : {projection: arriving spikes times synapses}.
    synapses : {projection: (n_pre, n_post, stored weights)} of the spiking projections that end here.
    input_synapses : stored weights of the constant-current projections that end here; 0 without one.
    input_values : values of the port that these read.
    input_writes : biases written for a constant current, or spikes that the host sends.
    bias_switches : biases switched on and off because the population's window is not the whole run (single inferences).
    bias_rows : biases written because they differ from step to step.
    output_reads : values read from the population as the answer.
    """

    name: str
    size: int
    start: int
    on_chip: bool = True
    compartments: int = 1
    leaky: bool = False
    spikes: float = 0
    fired: float = 0
    max_spikes: int = 1
    synaptic_operations: Mapping[str, float] = field(default_factory=dict)
    synapses: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    input_synapses: int = 0
    input_values: int = 0
    input_writes: float = 0
    bias_switches: float = 0
    bias_rows: float = 0
    output_reads: float = 0

    @property
    def synops(self) -> float:
        """Synaptic operations of all projections that end here."""
        return sum(self.synaptic_operations.values())


@dataclass(frozen=True, eq=False)
class Activity:
    """Counts of a run, summed over its inferences.

    Parameters
    ----------
    sha256 : of the network that ran.
    n_inferences : recorded inferences (a sequence is one).
    n_steps : T. depth : L. n_positions : inputs of a sequence, 1 without. extra_steps : of a protocol, an input.
    steps_single, steps_pipelined : steps of the chip, T + L - 1 and T an inference (fewer after an early exit).
    steps_window : steps of a hidden population's window, its pre-steps included.
    decided_at : (n_inferences,) int, the step of the read-out's window at which each was decided.
    populations : in order of computation.
    profile : {population: (T,) share of its spikes in each step of its window, pre-steps left out}.
    traffic, cores : by population and by core; None without a placement.
    currents : {population: (columns, nonzero)}, (n_in,) stored weights leaving each input value of its constant current and
        the share of inputs in which that value is not zero; empty unless the inputs were given.
    neurobench : the same counts under NeuroBench's names; None without the network.
    recording : what was counted; None for a scaled activity.
    """

    sha256: str
    n_inferences: int
    n_steps: int
    depth: int
    n_positions: int
    extra_steps: int
    steps_single: float
    steps_pipelined: float
    steps_window: float
    decided_at: Array
    populations: tuple[PopulationActivity, ...]
    profile: Mapping[str, Array]
    traffic: Mapping[str, Traffic] | None = None
    cores: Cores | None = None
    currents: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    neurobench: NeuroBench | None = None
    recording: Recording | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> PopulationActivity:
        """Return the counts of one population."""
        for p in self.populations:
            if p.name == name:
                return p
        raise SpecError(f"no population {name!r}; there are {', '.join(p.name for p in self.populations)}")

    def steps(self, mode: Mode) -> float:
        """Return the steps of the chip, summed over all inferences."""
        return self.steps_single if mode == "single" else self.steps_pipelined

    def updates(self, p: PopulationActivity, mode: Mode) -> float:
        """Return the compartment updates of one population, compartments x neurons x steps."""
        return p.size * p.compartments * self.steps(mode) if p.on_chip else 0

    def mean(self, count: float) -> float:
        """Return a count an inference (an average over the recorded inferences)."""
        return count / self.n_inferences

    @property
    def spikes(self) -> float:
        """Spikes of all populations."""
        return sum(p.spikes for p in self.populations)

    @property
    def synaptic_operations(self) -> float:
        """Synaptic operations of all populations."""
        return sum(p.synops for p in self.populations)

    @property
    def input_macs(self) -> float:
        """Multiply-accumulates of the constant-current layer, computed once for each input."""
        return sum(p.input_synapses for p in self.populations) * self.n_positions * self.n_inferences

    @property
    def input_macs_every_step(self) -> float:
        """The same, computed again in every step."""
        return sum(p.input_synapses for p in self.populations) * self.steps_window

    @property
    def senders(self) -> frozenset[str]:
        """Populations whose spikes go to another one."""
        return frozenset(name.partition("->")[0] for p in self.populations for name in p.synapses)

    def arrivals(self, projection: str) -> float:
        """Return the spikes that entered a projection (of dense ones: synaptic operations over fan-out)."""
        pre, _, post = projection.partition("->")
        p = self[post]
        n_pre, _, stored = p.synapses[projection]
        if stored == n_pre * p.size:
            return p.synaptic_operations[projection] / p.size
        return self[pre].spikes

    @property
    def spike_rate(self) -> float:
        """Spikes a neuron and step of the window, over the populations that send spikes."""
        neurons = sum(p.size for p in self.populations if p.name in self.profile)
        return self.spikes / (neurons * self.steps_window) if neurons and self.steps_window else 0.0

    @property
    def spikes_per_synapse(self) -> float:
        """Synaptic operations a synapse and inference, the measure of Dampfhoffer et al. 2023."""
        synapses = sum(stored for p in self.populations for _, _, stored in p.synapses.values())
        return self.synaptic_operations / (synapses * self.n_inferences) if synapses else 0.0

    def scaled(self, rate: float = 1.0, n_steps: int | None = None) -> Activity:
        """Return an imagined run: every spike count times ``rate``, for ``n_steps`` steps at the same spikes a step.

        Raises
        ------
        SpecError : a negative rate, n_steps < 1, or another n_steps for a run with early exit or pre-steps.
        """
        steps = self.n_steps if n_steps is None else n_steps
        if rate < 0 or steps < 1:
            raise SpecError(f"cannot scale to {rate:g} times the spikes and {steps} steps; expected 0 or more and 1 or more")
        if steps == self.n_steps and rate == 1.0:
            return self
        if steps != self.n_steps and (self.decided_at != self.n_steps).any():
            raise SpecError("a run with early exit cannot be scaled to another number of steps; record it without")
        if steps != self.n_steps and self.extra_steps:
            raise SpecError("a run with pre-steps cannot be scaled to another number of steps; simulate that number")
        stretch = steps / self.n_steps
        more = (steps - self.n_steps) * self.n_positions * self.n_inferences
        index = np.arange(steps) * self.n_steps // steps
        profile = {}
        for name, share in self.profile.items():
            drawn = share[index]
            total = drawn.sum()
            profile[name] = drawn / total if total > 0 else drawn
        factor = rate * stretch
        return replace(
            self,
            n_steps=steps,
            steps_single=self.steps_single + more,
            steps_pipelined=self.steps_pipelined + more,
            steps_window=self.steps_window * stretch,
            decided_at=np.full_like(self.decided_at, steps) if steps != self.n_steps else self.decided_at,
            populations=tuple(_scale(p, factor, stretch) for p in self.populations),
            profile=profile,
            traffic=None if self.traffic is None else {k: v.scaled(factor) for k, v in self.traffic.items()},
            cores=None if self.cores is None else self.cores.scaled(factor),
            neurobench=None,
            recording=None,
        )


def _scale(p: PopulationActivity, factor: float, stretch: float) -> PopulationActivity:
    return replace(
        p,
        spikes=p.spikes * factor,
        fired=p.fired * factor,
        synaptic_operations={k: v * factor for k, v in p.synaptic_operations.items()},
        # The host writes one bias an input whatever the rate; it sends every spike of an encoder.
        input_writes=p.input_writes if p.on_chip else p.input_writes * factor,
        bias_rows=p.bias_rows * stretch,
    )


def activity(recording: Recording, network: Any = None, *, inputs: Array | None = None) -> Activity:
    """Count what a recorded run did.

    Parameters
    ----------
    recording : of ``neuro.simulate``.
    network : SpikingNetwork or Deployment that ran; without it, what needs weights, biases or a placement is left out.
    inputs : (n_samples, n_in) or (n_samples, n_positions, n_in) array that was simulated: what of the first layer a zero
        input saves.

    Raises
    ------
    SpecError : the recording does not belong to the network, or says nothing of it and none is given.
    """
    deployment = network if network is not None and not isinstance(network, SpikingNetwork) else None
    net: SpikingNetwork | None = network.network if deployment is not None else network
    if net is not None and net.sha256 != recording.network_sha256:
        raise SpecError(
            f"the recording is of network {recording.network_sha256[:12]}, not of this one ({net.sha256[:12]}); "
            "simulate this one, or give the one that ran (an encoding put in front of a network makes another network)"
        )
    about = recording.info.get("network") or (describe(net) if net is not None else None)
    if inputs is not None and net is None:
        raise SpecError("inputs are counted against the weights of the first layer; give the network as well")
    if about is None:
        raise SpecError("the recording says nothing of its network; give the network that ran")
    positions = int(recording.info.get("n_positions", 1))
    extra = int(about.get("protocol_steps", 0))
    depth, n = int(about["depth"]), recording.n_samples
    if n == 0:
        raise SpecError("the recording holds no samples; there is nothing to count")
    lost = recording.n_steps - np.asarray(recording.decided_at, dtype=np.int64)
    single = recording.total_steps - lost
    full = positions * (recording.n_steps + extra)
    window = window_steps(recording)
    before = pre_steps(recording)
    traffic, cores = route(recording, deployment) if deployment is not None else (None, None)
    populations = tuple(_population(p, about, recording, net, deployment, positions, window, before) for p in about["populations"])
    return Activity(
        sha256=recording.network_sha256,
        n_inferences=n,
        n_steps=recording.n_steps,
        depth=depth,
        n_positions=positions,
        extra_steps=extra,
        steps_single=int(single.sum()),
        steps_pipelined=int(np.minimum(full, single).sum()),
        steps_window=int(window.sum()) + n * before.steps,
        decided_at=np.asarray(recording.decided_at, dtype=np.int64),
        populations=populations,
        profile={name: _share(counts) for name, counts in recording.step_counts.items()},
        traffic=traffic,
        cores=cores,
        currents={} if net is None or inputs is None else _currents(net, given_inputs(inputs, recording, net)),
        neurobench=None if net is None else neurobench(recording, net, inputs, _weight_bits(deployment)),
        recording=recording,
    )


def _currents(net: SpikingNetwork, x: Array) -> dict[str, tuple[Array, Array]]:
    """Return what zero inputs save of each constant-current layer; x is (n_samples, n_positions, n_in)."""
    nonzero = np.count_nonzero(x, axis=(0, 1)) / (x.shape[0] * x.shape[1])
    ports = [j for j in net.projections if j.pre == INPUT and net[j.post].encoder is None]
    return {j.post: (fan_out(j.weight), nonzero) for j in ports}


def _population(
    p: Mapping[str, Any],
    about: Mapping[str, Any],
    recording: Recording,
    net: SpikingNetwork | None,
    deployment: Any,
    positions: int,
    window: Array,
    before: PreSteps,
) -> PopulationActivity:
    name, size, n = p["name"], int(p["size"]), recording.n_samples
    spikes = (_number(recording.spike_counts[name]) if name in recording.spike_counts else 0) + before.spikes.get(name, 0)
    steps = int(window.sum()) + (n * before.steps if name in before.spikes else 0)
    coming = [j for j in about["projections"] if j["post"] == name]
    currents = [j for j in coming if j["pre"] == INPUT and p["encoder"] is None]
    spiking = [f"{j['pre']}->{name}" for j in coming if j["pre"] != INPUT]
    on_chip = p["encoder"] is None
    spec = net[name] if net is not None else None
    switches = rows = 0
    if spec is not None and spec.bias is not None:
        if spec.bias.ndim == 2:
            rows = size * steps
        elif spec.start > 0:
            switches = 2 * int(np.count_nonzero(spec.bias)) * n
    early = bool((recording.decided_at != recording.n_steps).any())
    last = name == about["populations"][-1]["name"]
    return PopulationActivity(
        name=name,
        size=size,
        start=int(p["start"]),
        on_chip=on_chip,
        compartments=_compartments(deployment, name),
        leaky=spec is not None and spec.leak is not None,
        spikes=spikes,
        fired=min(spikes, size * steps),
        max_spikes=int(p.get("max_spikes", 1)),
        synaptic_operations={k: _number(recording.synaptic_operations[k]) + before.operations.get(k, 0) for k in spiking},
        synapses={f"{j['pre']}->{name}": (int(j["n_pre"]), int(j["n_post"]), int(j["synapses"])) for j in coming if j["pre"] != INPUT},
        input_synapses=sum(int(j["synapses"]) for j in currents),
        input_values=sum(int(j["n_pre"]) for j in currents),
        input_writes=size * positions * n if currents else (spikes if not on_chip else 0),
        bias_switches=switches,
        bias_rows=rows,
        output_reads=(size * (int(window.sum()) if early else positions * n)) if last else 0,
    )


def located(activity_: Activity, deployment: Any) -> Activity:
    """Return the activity with its counts by core, taken from the deployment where they are not there yet.

    Raises
    ------
    SpecError : the activity is of another network than the deployment.
    """
    if not hasattr(deployment, "placement"):
        return activity_
    if activity_.cores is not None or activity_.recording is None:
        if activity_.sha256 != deployment.network.sha256:
            raise SpecError("the activity is not of this deployment (the SHA-256 of its network differs); count its own recording")
        return activity_
    found = activity(activity_.recording, deployment)
    view = activity_.neurobench or found.neurobench
    return replace(found, currents=activity_.currents, neurobench=view)


def _number(counts: Array) -> float:
    """Return the sum: a whole number of whole numbers, a fraction only of an assumed run."""
    total: float = counts.sum().item()
    return total


def _share(counts: Array) -> Array:
    total = counts.sum()
    return counts / total if total else np.zeros(len(counts))


def _compartments(deployment: Any, name: str) -> int:
    return 1 if deployment is None else int(deployment.placement.compartments.get(name, 1))


def _weight_bits(deployment: Any) -> int:
    figure = None if deployment is None else deployment.chip.arithmetic.weight_bits
    return 32 if figure is None else int(figure.value)


__all__ = ["Activity", "Mode", "PopulationActivity", "activity", "located"]
