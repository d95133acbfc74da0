"""Write a spiking network as a NIR graph that computes the same without knowing this project.

NIR's neurons start at zero, fire at v > v_threshold and are set to v_reset. A population with reset by subtraction
becomes three nodes, with u = v - v_init:

    name         I or LI      u <- f u + I + b - (1 - f) v_init
    name_spikes  Threshold    u > theta - v_init - grid/2
    name_reset   Scale        minus theta (f theta with a leak), back to ``name``: taken off before the next sum

The shift by v_init makes the start exact, and half a grid step turns v >= theta into a strict comparison, exactly, because
potentials are multiples of the grid. Reset to zero becomes one IF or LIF node, which starts at v_reset = 0. Weights hold what
one spike delivers. Edges take no time, so every layer sees the same T steps, which is what windows mean here. Spikes that
return within the window, from a population to itself by one step, need no Delay: every simulator takes one step for such a
loop. Other loops say their steps by a Delay node.

Metadata of every node state reset, comparison, v_init, grid and whatever else NIR cannot say (``importers/nir_metadata``), so
that reading the file with this project gives the same network.

Source: Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9; neuromorphs/NIR#63 on resets.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from converters.importers import nir_metadata
from converters.importers.require import require
from neuro.archive import write_atomically
from neuro.deploy import Deployment
from neuro.engines.lowering import lower
from neuro.network import INPUT, Population, Projection, SpikingNetwork, per_neuron

from .options import Exported, ExportOptions, network_of, refuse, steps_of

Array = np.ndarray
LARGEST = 1 << 27  # weights of one matrix; NIR has no sparse ones


def to_nir(value: SpikingNetwork | Deployment, path: Path, options: ExportOptions) -> Exported:
    """Write a ``.nir`` file.

    Raises
    ------
    ConversionError : a presentation protocol, matrices too large to be dense; without ``lossy`` everything whose meaning changes.
    """
    network = network_of(value)
    graph, lost, notes = nir_graph(network, options)
    nir = require("nir", "nir", "NIR files")
    stream = io.BytesIO()
    nir.write(stream, graph)
    return Exported((write_atomically(path, stream.getvalue()),), lost, notes)


def nir_graph(network: SpikingNetwork, options: ExportOptions) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    """Return (nir.NIRGraph, what is lost, notes)."""
    nir = require("nir", "nir", "NIR files")
    n_steps = steps_of(network, options)
    refuse("the network cannot be written as NIR:", _impossible(network, n_steps))
    lost = losses(network, options, n_steps)
    if not options.lossy:
        refuse("NIR would say something else than this network:", lost, "Write it all the same with --lossy.")
    return _Writer(nir, network, options, n_steps).graph(), tuple(lost), tuple(_notes(network, options))


# -- what cannot be said ----------------------------------------------------------------------------


def _impossible(network: SpikingNetwork, n_steps: int | None) -> list[str]:
    causes = []
    if network.protocol is not None:
        causes.append(f"it needs the presentation protocol {network.protocol.kind!r}")
    causes += [
        f"{j.name}: {j.weight.shape[0] * j.weight.shape[1]:,} weights as a dense matrix, at most {LARGEST:,} are written"
        for j in network.projections
        if j.weight.shape[0] * j.weight.shape[1] > LARGEST
    ]
    if network.recurrent and n_steps is None:
        causes.append("its recurrent delay is the length of a window, which needs n_steps")
    return causes


def losses(network: SpikingNetwork, options: ExportOptions, n_steps: int | None) -> list[str]:
    """Return what a reader that knows NIR alone would compute differently, one line each."""
    lost = []
    reach = None
    if n_steps is not None:
        reach = lower(network).largest(n_steps, max(abs(network.input_low), abs(network.input_high)))
    for p in network.populations:
        lost += [f"{p.name}: {text}" for text in _population_losses(p, options, None if reach is None else reach[p.name])]
    for j in network.projections:
        if j.current is not None:
            step, most = 2**j.current.exponent, j.current.mantissa_max * 2**j.current.exponent
            lost.append(f"{j.name}: the host rounds currents to multiples of {step:g} within {most:g} in either direction; NIR does not round")
    if network.recurrent:
        lost.append("the potentials go back to their start at every input of a sequence; in NIR they go on")
    return lost


def _population_losses(p: Population, options: ExportOptions, reach: float | None) -> list[str]:
    lost = []
    if p.max_spikes > 1:
        lost.append(f"up to {p.max_spikes} spikes a step; NIR's neurons send one")
    if p.signed:
        lost.append("signed spikes; NIR's neurons send none of -1")
    if p.refractory:
        lost.append(f"refractory for {p.refractory} steps ({p.refractory_mode}); NIR has no refractory time")
    if p.leak is not None and p.leak.kind != "exact":
        lost.append(f"a leak in whole numbers ({p.leak.kind}); NIR's decays exactly, without rounding")
    if p.bias is not None and np.ndim(p.bias) == 2:
        lost.append("a bias of its own in every step; NIR takes the mean over the steps")
    unit = 1.0 if p.grid is None else float(np.max(np.asarray(p.grid)))
    bounds = [b for b in (p.v_floor, p.v_ceiling) if b is not None]
    if bounds and (reach is None or any(reach * unit >= abs(b) for b in bounds)):
        shown = " and ".join(f"{b:g}" for b in bounds)
        why = "give n_steps to have it checked whether they can be reached" if reach is None else f"|v| may reach {reach * unit:g}"
        lost.append(f"the potential is bounded ({p.overflow}) at {shown}; NIR has no bounds ({why})")
    if p.reset == "zero" and np.any(np.asarray(p.v_init) != 0):
        lost.append("starts at v_init; a neuron of NIR that is reset to a value starts at that value")
    if options.nir_form == "if" and p.reset == "subtract":
        lost.append("reset by subtraction; nir.IF sets v to v_reset where its metadata are ignored")
        if p.comparison == ">=":
            lost.append("fires at v >= theta; nir.IF fires at v > theta where its metadata are ignored")
        if np.any(np.asarray(p.v_init) != 0):
            lost.append("starts at v_init; nir.IF starts at zero where its metadata are ignored")
    return lost


def _notes(network: SpikingNetwork, options: ExportOptions) -> list[str]:
    notes = []
    if any(p.encoder for p in network.populations):
        kind = next(p.encoder for p in network.populations if p.encoder)
        notes.append(f"the graph's input takes the spikes of the {kind} encoder, not the values")
    elif network.exact and not any(j.current is not None for j in network.projections):
        notes.append("currents of the first layer are rounded to the grid here (at most half a step of 2^-12 theta), in NIR they are not")
    if any(network.lag(j) and not plain_loop(network, j) for j in network.projections):
        notes.append("its loops hold Delay nodes; a simulator that takes one step for every loop adds it to them")
    if not network.exact:
        notes.append("the network has no grid: where a potential comes within rounding of a threshold, simulators may differ")
    if network.output.reset is None:
        notes.append("the graph's output is the potential of the read-out; divide by n_steps for the units of the network's source")
    return notes


def plain_loop(network: SpikingNetwork, j: Projection) -> bool:
    """Whether the projection returns spikes to their own population after one step, as every simulator reads a loop without a Delay."""
    return j.pre == j.post and network.lag(j) == 1


# -- writing ----------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, nir: Any, network: SpikingNetwork, options: ExportOptions, n_steps: int | None) -> None:
        self.nir, self.network, self.options, self.n_steps = nir, network, options, n_steps
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.gives: dict[str, str] = {}  # population -> node whose output is its spikes
        self.takes: dict[str, str] = {}  # population -> node at which its input arrives
        self.type: Any = np.float64

    def graph(self) -> Any:
        """Return the nir.NIRGraph."""
        network, nir = self.network, self.nir
        self.type = np.float32 if self._single() else np.float64
        source = self._put("input", nir.Input(input_type=np.array([network.input_size])))
        for p in network.populations:
            if p.encoder is not None:
                self.gives[p.name] = source
            else:
                self._population(p)
        self.gives[INPUT] = source
        for p in network.populations:
            if p.encoder is None:
                self._incoming(p)
        self.nodes["output"] = nir.Output(output_type=np.array([network.output.size]))
        self.edges.append((self.gives[network.output.name], "output"))
        metadata = nir_metadata.of_network(network, self.options.nir_form, self.n_steps, self.options.nir_dt)
        return nir.NIRGraph(self.nodes, self.edges, metadata=metadata, type_check=not network.recurrent)

    def _single(self) -> bool:
        """Whether every weight, bias and threshold is a float32 exactly (deployments)."""
        numbers = [np.ones(1)]
        for j in self.network.projections:
            numbers.append(j.weight.data if sp.issparse(j.weight) else np.asarray(j.weight))
            if j.pre != INPUT:
                numbers.append(np.asarray(self.network[j.pre].amplitude))
            if j.current is not None:
                numbers.append(j.current.offset)
        for p in self.network.populations:
            numbers += [np.asarray(v) for v in (p.v_threshold, p.v_init, p.bias, p.grid) if v is not None]
        return all(np.array_equal(np.asarray(n, np.float32), n) for n in numbers)

    def _put(self, name: str, node: Any) -> str:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name) or "node"
        while plain in self.nodes or plain == "output":
            plain += "_"
        self.nodes[plain] = node
        return plain

    def _full(self, value: Any, size: int) -> Array:
        return np.array(per_neuron(value, size), dtype=self.type)

    def _population(self, p: Population) -> None:
        nir, n = self.nir, p.size
        factor = p.leak.factor if p.leak is not None and p.leak.kind == "exact" else 1.0
        dt = self.options.nir_dt
        leaky: dict[str, Any] = {}
        if factor == 1.0:
            leaky = {"r": self._full(1.0 / dt, n)}
        else:
            share = 1.0 - factor
            leaky = {"tau": self._full(dt / share, n), "r": self._full(1.0 / share, n), "v_leak": self._full(0.0, n)}
        metadata = nir_metadata.of_population(p)
        if p.reset is None:
            kind = nir.I if factor == 1.0 else nir.LI
            self.takes[p.name] = self.gives[p.name] = self._put(p.name, kind(**leaky, metadata=metadata))
            return
        theta, v_init = per_neuron(p.v_threshold, n), per_neuron(p.v_init, n)
        fires = theta - v_init - nir_metadata.half_grid(p)
        one = nir.IF if factor == 1.0 else nir.LIF
        if p.reset == "zero":
            fires = theta - nir_metadata.half_grid(p)
            node = one(**leaky, v_threshold=self._full(fires, n), v_reset=self._full(0.0, n), metadata=metadata)
            self.takes[p.name] = self.gives[p.name] = self._put(p.name, node)
        elif self.options.nir_form == "if":
            node = one(**leaky, v_threshold=self._full(theta, n), v_reset=self._full(0.0, n), metadata=metadata)
            self.takes[p.name] = self.gives[p.name] = self._put(p.name, node)
        else:
            kind = nir.I if factor == 1.0 else nir.LI
            taken = self._put(p.name, kind(**leaky, metadata=metadata))
            given = self._put(f"{p.name}_spikes", nir.Threshold(threshold=self._full(fires, n)))
            back = self._put(f"{p.name}_reset", nir.Scale(scale=self._full(-theta * factor, n)))
            self.edges += [(taken, given), (given, back), (back, taken)]
            self.takes[p.name], self.gives[p.name] = taken, given

    def _incoming(self, p: Population) -> None:
        bias = np.zeros(p.size) if p.bias is None else np.asarray(p.bias, dtype=np.float64)
        bias = bias.mean(axis=0) if bias.ndim == 2 else bias
        shifted = p.reset is None or (p.reset == "subtract" and self.options.nir_form == "structure")
        if p.leak is not None and p.leak.kind == "exact" and shifted:
            bias = bias - (1.0 - p.leak.factor) * per_neuron(p.v_init, p.size)
        # The bias stands on the first one, which closes no loop.
        for j in sorted(self.network.incoming(p.name), key=lambda j: j.delay == "window" or self.network.lag(j) > 0):
            self._projection(j, p, bias)
            bias = np.zeros(p.size)

    def _projection(self, j: Projection, p: Population, bias: Array) -> None:
        nir = self.nir
        metadata: dict[str, Any] = {}
        if j.current is not None:
            bias = bias + j.current.offset
            metadata = {"current_of": p.name, **nir_metadata.of_current(j.current, p.bias)}
        weight = j.weight.toarray() if sp.issparse(j.weight) else np.asarray(j.weight)
        if j.pre != INPUT:
            pre = self.network[j.pre]
            # What a spike of an encoder is worth in the network's units; it counts as one spike in the graph.
            worth = per_neuron(pre.amplitude, pre.size)
            weight = weight * worth
        # Affine everywhere: some readers know no Linear.
        node = nir.Affine(weight=weight.astype(self.type), bias=np.asarray(bias, dtype=self.type), metadata=metadata)
        name = self._put(f"{j.pre}_to_{j.post}", node)
        self.edges.append((self.gives[j.pre], name))
        lag = self.network.lag(j)
        if lag and not plain_loop(self.network, j):
            delay = nir.Delay(delay=self._full(lag * self.options.nir_dt, p.size), metadata={nir_metadata.LAG: lag})
            returned = self._put(f"{name}_delay", delay)
            self.edges.append((name, returned))
            name = returned
        elif lag:
            node.metadata[nir_metadata.LAG] = lag
        if j.delay == "window":
            assert self.n_steps is not None
            delay = nir.Delay(delay=self._full(self.n_steps * self.options.nir_dt, p.size), metadata={"delay": "window"})
            echo = self._put(f"{name}_delay", delay)
            self.edges.append((name, echo))
            name = echo
        self.edges.append((name, self.takes[p.name]))


__all__ = ["losses", "nir_graph", "to_nir"]
