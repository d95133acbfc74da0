"""Presentation protocols: what a sample goes through before the T steps that count (SRP, COS).

Two parts. ``mask_of`` and ``start_of`` say what the pre-steps decide about a neuron; every engine uses them.
``unrolled`` turns a network with a protocol into a plain one, so that an engine of windows and delays runs it: beside every
hidden population stands its trial, which runs the pre-steps; the population itself starts when its trial has ended.

* SRP: the trials are a network of their own, so that every population starts tau steps later.
* COS: a trial hears the first rho steps of the trains that its population hears again from their start, rho steps later;
  so every hidden layer on the way adds rho steps. Where rho > T the populations below run on to rho steps.

An encoder sends one train, of which trial and population hear the beginning: the same input is presented twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..network import Population, Projection, SpikingNetwork
from .lowering import Neurons

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A network with a protocol as a plain network of populations and their trials.

    Parameters
    ----------
    network : the plain network; its depth is L + the protocol's pre-steps.
    trials : {population: its trial}.
    windows : {name: steps of its window}, populations and trials.
    period : steps after which the next sample can enter.
    layer_steps : steps of a trial.
    """

    network: SpikingNetwork
    trials: Mapping[str, str]
    windows: Mapping[str, int]
    period: int
    layer_steps: int


def subjects(network: SpikingNetwork) -> tuple[str, ...]:
    """Return the populations a protocol acts on: those that fire, without encoders and the read-out."""
    return tuple(p.name for p in network.populations[:-1] if p.encoder is None and p.reset is not None)


def layer_steps(network: SpikingNetwork) -> int:
    """Return the pre-steps of one population: tau of SRP, rho of COS."""
    protocol = network.protocol
    if protocol is None:
        return 0
    if protocol.kind == "srp":
        return protocol.pre_steps
    return protocol.pre_steps // max(len(subjects(network)), 1)


def starts(network: SpikingNetwork) -> dict[str, int]:
    """Return the step at which each population starts the T steps that count."""
    steps = layer_steps(network)
    if network.protocol is not None and network.protocol.kind == "srp":
        return {p.name: p.start if p.encoder is not None else p.start + steps for p in network.populations}
    chosen, added = subjects(network), dict[str, int]()
    for p in sorted(network.populations, key=lambda p: p.start):
        below = max((added[j.pre] for j in network.incoming(p.name) if j.pre in added), default=0)
        added[p.name] = below + (steps if p.name in chosen else 0)
    return {p.name: p.start + added[p.name] for p in network.populations}


def unrolled(network: SpikingNetwork, n_steps: int) -> Unrolled:
    """Return the plain network that carries out the network's protocol in windows and delays."""
    assert network.protocol is not None
    srp, steps = network.protocol.kind == "srp", layer_steps(network)
    begin, chosen = starts(network), subjects(network)
    trials = {name: f"{name} trial" for name in chosen}
    populations: list[Population] = []
    windows: dict[str, int] = {}
    for p in network.populations:
        if p.name in trials:
            populations.append(replace(p, name=trials[p.name], start=begin[p.name] - steps))
            windows[trials[p.name]] = steps
        populations.append(replace(p, start=begin[p.name]))
        heard = {j.post for j in network.outgoing(p.name)} & set(chosen)
        # Only what a trial hears goes on beyond T steps.
        on = p.encoder is not None or not srp
        windows[p.name] = max(n_steps, steps) if on and heard else n_steps
    by_name = {p.name: p for p in populations}

    def joined(pre: str, post: str, j: Projection) -> Projection:
        delay = 0 if j.pre not in by_name else by_name[post].start - by_name[pre].start
        return replace(j, pre=pre, post=post, delay=delay)

    projections = []
    for j in network.projections:
        projections.append(joined(j.pre, j.post, j))
        if j.post in trials:
            source = trials[j.pre] if srp and j.pre in trials else j.pre
            projections.append(joined(source, trials[j.post], j))
    plain = replace(network, populations=tuple(populations), projections=tuple(projections), protocol=None)
    return Unrolled(plain, trials, windows, max(windows.values()), steps)


def mask_of(network: SpikingNetwork, p: Neurons, v: Array) -> Array:
    """Return which neurons may send spikes after SRP's pre-steps, [v(tau) > threshold theta], the shape of ``v``."""
    assert network.protocol is not None and p.theta is not None
    return np.asarray(v > network.protocol.options.get("threshold", 1e-3) * p.theta)


def start_of(network: SpikingNetwork, p: Neurons, v: Array, lowest: Array, highest: Array) -> Array:
    """Return the potentials at which neurons start after COS's pre-steps, the shape of ``v``, float64.

    v : potential after the pre-steps. lowest : lowest potential at a spike, before the reset (infinity: no spike).
    highest : highest potential at a silent step (minus infinity: none). A neuron without the step asked for keeps v_init.
    On a grid the margin is rounded to it, to one unit at least.
    """
    assert network.protocol is not None and p.theta is not None
    theta = p.theta.astype(np.float64)
    margin = network.protocol.options.get("margin", 1e-3) * theta
    if network.exact:
        margin = np.maximum(np.rint(margin), 1.0)
    fewer, more = (v < 0) & np.isfinite(lowest), (v >= theta) & np.isfinite(highest)
    first = np.broadcast_to(p.v_init.astype(np.float64), v.shape)
    down = first - np.maximum(theta, np.where(fewer, lowest, 0) - theta + margin)
    up = first + np.maximum(theta, theta + margin - np.where(more, highest, 0))
    return np.where(fewer, down, np.where(more, up, first))


class Extremes:
    """Lowest potential at a spike and highest at a silent step of a batch of trials, before the reset; float64."""

    def __init__(self, rows: int, size: int) -> None:
        self.lowest, self.highest = np.empty((rows, size)), np.empty((rows, size))
        self.begin(slice(None))

    def begin(self, rows: Array | slice) -> None:
        """Forget what these rows saw."""
        self.lowest[rows], self.highest[rows] = np.inf, -np.inf

    def see(self, rows: Array | slice, v: Array, fired: Array, theta: Array) -> None:
        """Take in one step: ``v`` (n_rows, size) after reset by subtraction, ``fired`` bool."""
        self.lowest[rows] = np.where(fired, np.minimum(self.lowest[rows], v + theta), self.lowest[rows])
        self.highest[rows] = np.where(fired, self.highest[rows], np.maximum(self.highest[rows], v))
