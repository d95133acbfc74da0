"""A spiking network that keeps its membrane potentials from one decision to the next."""

from __future__ import annotations

import numpy as np

from neuro import neurons as rules
from neuro.engines.lowering import lower
from neuro.engines.reference import deliver
from neuro.errors import EngineError
from neuro.network import SpikingNetwork

Array = np.ndarray


class Carried:
    """Answers decision after decision; what is left below the thresholds is carried over when ``keep`` is set.

    y = (v_T - v_0) / T at the output, v_0 its potential when the decision began. Every call asks the same rows in the same
    order. Without ``keep`` the answers are those of ``neuro.simulate``. With it a neuron's rate errors average out over
    decisions, as in one long window: what a decision did not send, the next one sends.

    Raises
    ------
    EngineError : a network that is recurrent, needs a protocol or takes spikes as input.
    """

    def __init__(self, network: SpikingNetwork, n_steps: int, keep: bool) -> None:
        if network.recurrent or network.looped or network.protocol is not None or any(p.encoder for p in network.populations):
            raise EngineError("potentials are carried over in feed-forward networks with constant input only")
        self.low, self.n_steps, self.keep = lower(network), n_steps, keep
        self.states: dict[str, rules.State] = {}

    def __call__(self, x: Array) -> Array:
        """Return the outputs for x (n, n_in)."""
        low, n = self.low, len(x)
        dtype = np.int64 if low.exact else np.float64
        if not self.keep or not self.states:
            self.states = {p.name: rules.initial_state(p.spec, p.v_init, n, dtype) for p in low.neurons}
        out = low.neurons[-1]
        began = self.states[out.name].v.copy()
        currents = {p.name: low.currents(p.name, np.asarray(x, np.float64)) for p in low.neurons}
        sent: dict[str, Array] = {}
        # Feed-forward windows are aligned: step k of a layer needs step k of the layer below alone.
        for k in range(self.n_steps):
            for p in low.neurons:
                drive = np.zeros((n, p.size), dtype)
                bias, current = p.bias_row(k), currents[p.name]
                drive = drive if bias is None else drive + bias
                drive = drive if current is None else drive + current
                for s in low.incoming(p.name):
                    drive = drive + deliver(s.weight, sent[s.spec.pre])
                sent[p.name] = rules.step(p.spec, self.states[p.name], drive, p.theta, p.floor, p.ceiling)
        return np.asarray((self.states[out.name].v - began) * out.unit / self.n_steps)
