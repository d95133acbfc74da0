"""Where a delayed read-out should start, estimated from how soon the layers send their first useful spikes."""

from __future__ import annotations

import math

import numpy as np

from .engines import EngineOptions, simulate
from .errors import EngineError, SpecError
from .network import SpikingNetwork, per_neuron
from .readout import SHORTEST, Readout

Array = np.ndarray


def estimate_start(network: SpikingNetwork, inputs: Array, n_steps: int, options: EngineOptions | None = None) -> Readout:
    """Return a delayed read-out that leaves out the steps until every layer has begun to send.

    t0 = ceil(sum over hidden layers of min_i (theta_i - v_init_i) / (theta_i r_i)), at most T - 4; r_i is the mean number of
    spikes of neuron i in a step, so that theta_i r_i is the mean drive that it passes on. No labels are needed.

    Parameters
    ----------
    network : SpikingNetwork whose outputs only integrate.
    inputs : (n_samples, n_in) array of calibration samples, not those that are judged afterwards.
    n_steps : T of the run that measures r.

    Raises
    ------
    SpecError : a layer sends no spike on these samples.
    EngineError : outputs that fire, sequences, or no hidden layer.

    Source
    ------
    Hwang et al. 2021, doi:10.3389/fnins.2021.629000; formula and the last four steps: Bu et al. 2025, arXiv:2409.03368.

    Departs
    -------
    The papers put the largest mean activation of the trained network for theta r; here it is measured, clipped at theta as spikes are,
    and thresholds may differ between neurons.
    """
    hidden = [p for p in network.populations if p.reset is not None]
    if network.recurrent or network.output.reset is not None or not hidden:
        raise EngineError("a delayed read-out needs hidden layers, single inputs and outputs that only integrate")
    recording = simulate(network, inputs, n_steps, options=options)
    total = 0.0
    for p in hidden:
        theta, v_init = per_neuron(p.v_threshold, p.size), per_neuron(p.v_init, p.size)
        rate = recording.neuron_counts[p.name] / (max(recording.n_samples, 1) * n_steps)
        if not rate.any():
            raise SpecError(f"{p.name} sends no spike on these samples in {n_steps} steps; give other samples or a longer window")
        fired = rate > 0
        total += float(np.min((theta - v_init)[fired] / (theta * rate)[fired]))
    return Readout(kind="delayed", start=max(0, min(math.ceil(total), n_steps - SHORTEST)))
