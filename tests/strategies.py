"""Hypothesis strategies: random integer networks with every rule, delay, encoding and read-out, and their inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st

from neuro.encoding import with_encoder
from neuro.network import CurrentFormat, Leak, Population, Projection, Protocol, SpikingNetwork
from neuro.readout import with_spiking_output


@dataclass(frozen=True)
class Case:
    """A network, inputs and how to run them."""

    network: SpikingNetwork
    x: np.ndarray
    n_steps: int
    readout: str
    seed: int

    def __repr__(self) -> str:
        kinds = [(p.name, p.size, p.start, p.reset, p.max_spikes, p.signed, p.refractory) for p in self.network.populations]
        return f"Case(T={self.n_steps}, x={self.x.shape}, readout={self.readout}, {kinds})"


@st.composite
def rules(draw: st.DrawFn) -> dict:
    """Settings of a population beyond plain integrate-and-fire."""
    out: dict = {"reset": draw(st.sampled_from(["subtract", "subtract", "zero"])), "comparison": draw(st.sampled_from([">=", ">"]))}
    kind = draw(st.sampled_from(["plain", "plain", "leak", "floor", "saturate", "wrap", "refractory", "burst", "signed", "all"]))
    if kind in ("leak", "all"):
        out["leak"] = draw(
            st.sampled_from([Leak("shift", shift=1), Leak("shift", shift=4), Leak("decay12", decay=128), Leak("decay12", decay=4096)])
        )
    if kind == "floor":
        out["v_floor"] = float(draw(st.integers(-200, 0)))
    if kind in ("saturate", "wrap", "all"):
        out["v_floor"], out["v_ceiling"] = -256.0, 255.0
        out["overflow"] = "wrap" if kind == "wrap" else "saturate"
    if kind in ("refractory", "all"):
        out["refractory"] = draw(st.integers(1, 3))
        out["refractory_mode"] = draw(st.sampled_from(["integrate", "hold"]))
    if kind == "burst":
        out |= {"max_spikes": draw(st.integers(2, 5)), "reset": "subtract"}
    if kind == "signed":
        out |= {"signed": True, "signed_floor": draw(st.booleans()), "reset": "subtract"}
    return out


@st.composite
def cases(draw: st.DrawFn, recurrent: bool | None = None, looped: bool | None = None) -> Case:
    """A random network of integers: one to three hidden layers, skips, any rule, delay, encoding, read-out.

    ``recurrent``: with projections that reach the next input of a sequence; ``looped``: that return spikes within the window.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_steps = draw(st.integers(1, 7))
    n_samples = draw(st.integers(1, 9))
    n_in = draw(st.integers(1, 6))
    depth = draw(st.integers(1, 3))
    echoes = draw(st.booleans()) if recurrent is None else recurrent
    loops = draw(st.booleans()) if looped is None else looped
    populations, projections = [], []
    start, pre, n_pre = 0, "input", n_in
    for layer in range(depth):
        size = draw(st.integers(1, 9))
        delay = 0 if layer == 0 else draw(st.integers(1, 3))
        start += delay
        name = f"hidden{layer + 1}"
        theta = rng.integers(20, 90, size if draw(st.booleans()) else ()).astype(float)
        bias = rng.integers(-10, 15, (n_steps, size) if draw(st.integers(0, 4)) == 0 else size).astype(float)
        population = Population(
            name,
            size,
            v_threshold=theta,
            v_init=np.floor(theta / 2),
            bias=bias if draw(st.booleans()) else None,
            start=start,
            grid=1.0,
            **draw(rules()),
        )
        populations.append(population)
        projections.append(_projection(draw, rng, pre, name, size, n_pre, delay, 30))
        if layer == 2 and draw(st.booleans()):
            first = populations[0]
            projections.append(_projection(draw, rng, first.name, name, size, first.size, start - first.start, 30))
        if echoes and draw(st.booleans()) or (echoes and layer == 0):
            projections.append(_projection(draw, rng, name, name, size, size, "window", 25))
        elif loops and draw(st.booleans()):
            projections.append(_projection(draw, rng, name, name, size, size, draw(st.integers(1, 4)), 25))
        if loops and layer and draw(st.booleans()):
            back = populations[draw(st.integers(0, layer - 1))]
            projections.append(_projection(draw, rng, name, back.name, back.size, size, draw(st.integers(1, 2)), 25))
        pre, n_pre = name, size
    delay = draw(st.integers(1, 2))
    classes = draw(st.integers(1, 4))
    populations.append(
        Population("output", classes, reset=None, bias=rng.integers(-5, 5, classes).astype(float), start=start + delay, grid=1.0)
    )
    projections.append(_projection(draw, rng, pre, "output", classes, n_pre, delay, 60))
    network = SpikingNetwork(tuple(populations), tuple(projections), n_in)
    how = draw(st.sampled_from(["constant", "register", "regular", "poisson", "first_spike"]))
    if how == "register":
        port = network.projections[0]
        size = populations[0].size
        chip = CurrentFormat(draw(st.integers(0, 3)), 15, rng.normal(0, 4, size), np.full(size, 60.0))
        register = Projection(port.pre, port.post, port.weight, 0, chip)
        network = SpikingNetwork(network.populations, (register, *network.projections[1:]), n_in)
    elif how != "constant":
        network = with_encoder(network, how, 1.0)
    readout = draw(st.sampled_from(["potential", "delayed", "count", "first_spike"]))
    if readout in ("count", "first_spike"):
        network = with_spiking_output(network, 40.0)
    shape = (n_samples, draw(st.integers(1, 3)), n_in) if network.recurrent else (n_samples, n_in)
    x = rng.random(shape).round(2)
    return Case(network, x, n_steps, readout, draw(st.integers(0, 3)))


def _projection(draw, rng, pre, post, n_post, n_pre, delay, scale):  # type: ignore[no-untyped-def]
    weight = rng.integers(-scale, scale + 1, (n_post, n_pre)).astype(float)
    if draw(st.booleans()):
        weight = sp.csr_array(weight * (rng.random(weight.shape) < 0.5))
    return Projection(pre, post, weight, delay)


@st.composite
def presentations(draw: st.DrawFn) -> Case:
    """A random feed-forward network with a presentation protocol, its skips and delays included."""
    case = draw(cases(recurrent=False, looped=False))
    network = case.network
    kind = draw(st.sampled_from(["srp", "cos"]))
    hidden = [p for p in network.populations[:-1] if p.encoder is None]
    populations = []
    for p in network.populations:
        if p in hidden and kind == "cos":
            p = replace(p, reset="subtract", max_spikes=1, signed=False, signed_floor=False, refractory=0)
        if p.bias is not None and p.bias.ndim == 2:  # where rho > T a population runs beyond T steps
            p = replace(p, bias=p.bias[0])
        populations.append(p)
    steps = draw(st.integers(1, 6)) * (len(hidden) if kind == "cos" else 1)
    protocol = Protocol(kind, steps, {"threshold": draw(st.sampled_from([1e-3, 0.4])), "margin": draw(st.sampled_from([1e-3, 0.2]))})
    network = replace(network, populations=tuple(populations), protocol=protocol)
    return replace(case, network=network)
