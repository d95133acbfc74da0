"""Float networks to put on chips: built by hand, so that these tests need no converter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st

from neuro.encoding import with_encoder
from neuro.network import Population, Projection, SpikingNetwork


def dense(sizes, seed=0, encoder=False, per_neuron=False, bias=True, gain=1.5):
    """Return a network of integrate-and-fire layers with thresholds near 1, on a grid, as ``convert`` makes it."""
    rng = np.random.default_rng(seed)
    populations, projections, previous, amplitude = [], [], "input", 1.0
    for i, n in enumerate(sizes[1:]):
        last = i == len(sizes) - 2
        name = "output" if last else f"hidden{i + 1}"
        theta = rng.uniform(0.5, 2.0, n if per_neuron else None)
        theta = np.float64(np.float32(theta)) if np.ndim(theta) == 0 else np.asarray(theta, np.float32).astype(float)
        weight = rng.normal(0.1 / sizes[i], gain / np.sqrt(sizes[i]), (n, sizes[i]))
        offset = rng.normal(0.02, 0.1, n) if bias else None
        if last:
            grid = float(np.abs(weight * amplitude).max()) * 2**-12
            populations.append(Population(name, n, reset=None, bias=offset, start=i, grid=grid, scale=1.0))
        else:
            populations.append(
                Population(name, n, v_threshold=theta, amplitude=theta, v_init=theta / 2, bias=offset, start=i, grid=theta * 2**-12)
            )
        projections.append(Projection(previous, name, weight, delay=0 if i == 0 else 1))
        previous, amplitude = name, theta
    network = SpikingNetwork(tuple(populations), tuple(projections), sizes[0])
    return with_encoder(network, "regular", 1.0) if encoder else network


def shape(sizes, encoder=False):
    """Return a network of that shape whose weights take no memory, for placement alone."""
    network = dense([1] * len(sizes), bias=False)
    populations = tuple(replace(p, size=n) for p, n in zip(network.populations, sizes[1:], strict=True))
    projections = tuple(
        replace(j, weight=np.broadcast_to(np.float32(0.01), (m, n)))
        for j, n, m in zip(network.projections, sizes[:-1], sizes[1:], strict=True)
    )
    network = replace(network, populations=populations, projections=projections, input_size=sizes[0])
    return with_encoder(network, "regular", 1.0) if encoder else network


def sparse(network, density, seed=0):
    """Return the network with every projection between populations pruned at random and stored as csr."""
    rng = np.random.default_rng(seed)

    def prune(j):
        if j.pre == "input":
            return j
        return replace(j, weight=sp.csr_array(j.weight * (rng.random(j.weight.shape) < density)))

    return replace(network, projections=tuple(prune(j) for j in network.projections))


@st.composite
def networks(draw, encoder=None):
    """Random small float networks: one to three layers, thresholds per layer or neuron, with or without bias."""
    sizes = [draw(st.integers(2, 12)) for _ in range(draw(st.integers(2, 4)))]
    return dense(
        [*sizes, draw(st.integers(2, 6))],
        seed=draw(st.integers(0, 2**32 - 1)),
        encoder=draw(st.booleans()) if encoder is None else encoder,
        per_neuron=draw(st.booleans()),
        bias=draw(st.booleans()),
        gain=draw(st.sampled_from([0.3, 1.5, 6.0])),
    )
