"""Does the spiking network still compute what its source computed? On samples, layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro import neurons as rules
from neuro.encoding import spike_train
from neuro.engines import Record, simulate
from neuro.engines.lowering import Lowered, lower
from neuro.errors import VerificationError, problems
from neuro.network import Population, SpikingNetwork
from neuro.recording import Recording

from .methods.draft import population_name
from .methods.stream import Calibration
from .mlp import MLP, check_inputs

Array = np.ndarray
SATURATED = 0.5  # share of active neurons at the highest rate with more to send, from which a layer counts as saturated
LONG = 1024  # steps in which every network that works at all sends something


@dataclass(frozen=True)
class LayerCheck:
    """How far one layer's rates, theta N / T, are from the activations they stand for.

    max_error, mean_error : of |theta N / T - a|, in the units of the activations.
    correlation : Pearson's, over samples and neurons; None where one of the two does not vary.
    mean_activation : mean of a.
    rate : spikes a neuron and step.
    silent : share of the neurons that are active in the ANN but never spike.
    saturated : share of active (sample, neuron) pairs that spike in every step though a exceeds what that can express.
    """

    name: str
    max_error: float
    mean_error: float
    correlation: float | None
    mean_activation: float
    rate: float
    silent: float
    saturated: float


@dataclass(frozen=True)
class Verification:
    """Result of :func:`verify`.

    agreement : share of samples with the ANN's answer (for regression: R2 of the outputs against the ANN's).
    output_error : mean of |output - ANN's output|.
    """

    layers: tuple[LayerCheck, ...]
    agreement: float
    output_error: float
    n_samples: int
    n_steps: int

    def __str__(self) -> str:
        head = f"{self.n_samples} samples, T = {self.n_steps}: agreement {self.agreement:.4f}, output error {self.output_error:.4g}"
        rows = [f"{'layer':<10} {'mean |error|':>13} {'max |error|':>12} {'correlation':>12} {'rate':>8} {'silent':>8} {'saturated':>10}"]
        for c in self.layers:
            correlation = "-" if c.correlation is None else f"{c.correlation:.4f}"
            rows.append(
                f"{c.name:<10} {c.mean_error:>13.4g} {c.max_error:>12.4g} {correlation:>12} "
                f"{c.rate:>8.4f} {c.silent:>8.2%} {c.saturated:>10.2%}"
            )
        return "\n".join([head, *rows])


@dataclass(frozen=True, eq=False)
class Observation:
    """Mean outputs of every spiking population, theta N / T in the units of the source, and the outputs.

    rates : {population: (n_samples, size)}; counts : the same in spikes a window; outputs : (n_samples, n_out).
    Positions of a sequence count as samples, sample by sample.
    """

    rates: Mapping[str, Array]
    counts: Mapping[str, Array]
    outputs: Array
    n_steps: int
    inputs: Array = field(repr=False)


def verify(network: Any, mlp: MLP, x: Array, n_steps: int | None = None) -> Verification:
    """Compare a converted (or deployed) network with the network it came from, layer by layer.

    Parameters
    ----------
    network : SpikingNetwork, or a Deployment.
    x : (n_samples, n_in) array, or (n_samples, n_seq, n_in) of a recurrent network.
    n_steps : T; default the T it was made for, else 32.

    Raises
    ------
    VerificationError : layers that are silent (no spike at all) or saturated, all named; outputs that do not depend on the input.
    """
    net = network if isinstance(network, SpikingNetwork) else network.network
    x = check_inputs(x, mlp)
    seen = observe(net, x, n_steps or steps_of(net))
    result = compare(net, mlp, x, seen)
    causes = _failures(net, seen, result)
    if causes:
        what = f"the spiking network does not compute what its source computes ({result.n_samples} samples, T = {seen.n_steps}):"
        raise VerificationError(problems(what, causes))
    return result


def quick_check(network: SpikingNetwork, mlp: MLP, data: Calibration) -> SpikingNetwork:
    """Verify on the first calibration samples; return the network with the result in ``info["verification"]``.

    A network made for one T runs for that T. Any other runs for 32 steps, and where it is silent then, for 1,024: high
    thresholds are slow, not wrong.
    """
    made_for = network.info.get("calibrated_for_T")
    short = made_for or max(32, network.info.get("n_steps") or 0)
    x = np.concatenate(list(data.limited(64 if network.protocol is None else 16).batches()))
    try:
        result = verify(network, mlp, x, short)
    except VerificationError:
        if made_for or network.protocol is not None or short >= LONG:
            raise
        result = verify(network, mlp, x[:16], LONG)
    summary = {
        "samples": result.n_samples,
        "n_steps": result.n_steps,
        "agreement": result.agreement,
        "output_error": result.output_error,
        "layers": {
            c.name: {"mean_error": c.mean_error, "max_error": c.max_error, "correlation": c.correlation, "rate": c.rate}
            for c in result.layers
        },
    }
    return replace(network, info={**network.info, "verification": summary})


def steps_of(network: SpikingNetwork) -> int:
    """Return the T a network was made for, or 32."""
    return int(network.info.get("calibrated_for_T") or network.info.get("n_steps") or 32)


# -- running ----------------------------------------------------------------------------------------


def observe(network: SpikingNetwork, x: Array, n_steps: int, batch: int = 256) -> Observation:
    """Run samples and return mean outputs; exact, because integers are summed in float64 below 2^53.

    Every population takes its inputs of the same relative step, which is what the windows of the network amount to.
    A network with a protocol is run by the reference engine.
    """
    flat = x.reshape(-1, x.shape[-1])
    if network.protocol is not None:
        return _by_engine(network, flat, n_steps)
    low = lower(network)
    weights = {s.name: s.weight.astype(np.float64) for s in low.synapses}
    parts = [_run(low, weights, x[f : f + batch], n_steps, f) for f in range(0, len(x), batch)]
    names = [p.name for p in network.populations if p.spiking]
    counts = {name: np.concatenate([c[name] for c, _ in parts]) for name in names}
    rates = {name: counts[name] * (spike_value(network[name]) / n_steps) for name in names}
    return Observation(rates, counts, np.concatenate([o for _, o in parts]), n_steps, flat)


def spike_value(p: Population) -> Array:
    """Return what one spike stands for in the units of the source network, scalar or (size,)."""
    value = p.amplitude if p.v_threshold is None else p.v_threshold
    return np.asarray(value, dtype=np.float64) * np.asarray(p.scale, dtype=np.float64)


def _run(low: Lowered, weights: Mapping[str, Any], x: Array, n_steps: int, first: int) -> tuple[dict[str, Array], Array]:
    """Run one batch; return spike counts and outputs, positions of a sequence side by side."""
    sequence = x[:, None] if x.ndim == 2 else x
    n_positions = sequence.shape[1]
    before: dict[str, list[Array]] = {}
    counts: dict[str, list[Array]] = {p.name: [] for p in low.neurons if p.spec.spiking}
    outputs = []
    for position in range(n_positions):
        here = sequence[:, position].astype(np.float64)
        currents = {p.name: low.currents(p.name, here) for p in low.neurons}
        states = {p.name: rules.initial_state(p.spec, p.v_init, len(here), np.float64) for p in low.neurons}
        keys = (np.arange(len(here)) + first) * n_positions + position
        trains = {p.name: spike_train(p.spec, here, n_steps, keys, 0) for p in low.neurons if p.spec.encoder}
        sent: dict[str, list[Array]] = {name: [] for name in counts}
        for t in range(n_steps):
            for p in low.neurons:
                if p.spec.encoder:
                    sent[p.name].append(next(trains[p.name]).astype(np.float64))
                    continue
                bias = p.bias_row(t)
                drive = np.zeros((len(here), p.size)) + (0 if bias is None else bias)
                if currents[p.name] is not None:
                    drive += currents[p.name]
                for s in low.incoming(p.name):
                    if s.delay is not None:
                        if t >= s.lag:
                            drive += _deliver(weights[s.name], sent[s.spec.pre][t - s.lag])
                    elif before:
                        drive += _deliver(weights[s.name], before[s.spec.pre][t])
                fired = rules.step(p.spec, states[p.name], drive, p.theta, p.floor, p.ceiling)
                if p.spec.spiking:
                    sent[p.name].append(fired.astype(np.float64))
        before = sent
        for name, train in sent.items():
            counts[name].append(np.sum(train, axis=0))
        out = low.neurons[-1]
        outputs.append(_output(out, states[out.name].v, counts, n_steps))
    joined = {name: np.stack(parts, axis=1).reshape(-1, parts[0].shape[-1]) for name, parts in counts.items()}
    return joined, np.stack(outputs, axis=1).reshape(-1, outputs[0].shape[-1])


def _output(out: Any, v: Array, counts: Mapping[str, list[Array]], n_steps: int) -> Array:
    if out.spec.spiking:
        return counts[out.name][-1] * (spike_value(out.spec) / n_steps)
    return (v - out.v_init) * out.unit / n_steps


def _deliver(weight: Any, spikes: Array) -> Array:
    return np.asarray((weight @ spikes.T).T) if sp.issparse(weight) else spikes @ weight.T


def _by_engine(network: SpikingNetwork, x: Array, n_steps: int) -> Observation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it would warn of is this function's caller's business
        rec = simulate(network, x, n_steps, engine="reference", record=Record(rates=len(x)))
    return observed(network, rec, x)


def observed(network: SpikingNetwork, recording: Recording, x: Array) -> Observation:
    """Return what an engine saw of the samples whose rates it recorded, x : (n_samples, n_in), the first of the recording.

    A recording of an ideal network without early exit gives what :func:`observe` would compute again.
    """
    n = len(next(iter(recording.sample_rates.values())))
    counts = {name: np.rint(rate.astype(np.float64) * recording.n_steps) for name, rate in recording.sample_rates.items()}
    rates = {name: count * (spike_value(network[name]) / recording.n_steps) for name, count in counts.items()}
    return Observation(rates, counts, recording.outputs[:n], recording.n_steps, x[:n])


# -- comparing --------------------------------------------------------------------------------------


def ann_values(network: SpikingNetwork, mlp: MLP, x: Array) -> dict[str, Array]:
    """Return what the ANN computes where each population stands, {population: (n_samples, size)}."""
    values = mlp.activations(x.astype(np.float64))
    names = [p.name for p in network.populations if p.encoder is None]
    if len(values) == len(names) - 1:  # a last layer with a ReLU: a read-out that adds up its spikes stands behind it
        values = [*values, values[-1]]
    if len(values) != len(names):
        raise VerificationError(f"the network has {len(names)} populations, the source {len(values)} layers: not its conversion")
    return {name: value.reshape(-1, value.shape[-1]) for name, value in zip(names, values, strict=True)}


def compare(network: SpikingNetwork, mlp: MLP, x: Array, seen: Observation) -> Verification:
    """Return the figures of a verification without judging them."""
    ann = ann_values(network, mlp, x)
    layers = tuple(_check(network[name], ann[name], seen) for name in ann if network[name].spiking)
    wanted = ann[network.output.name]
    if network.task == "regression":
        spread = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
        agreement = 1.0 - float(((wanted - seen.outputs) ** 2).sum()) / spread if spread > 0 else 0.0
    else:
        agreement = float((wanted.argmax(axis=1) == seen.outputs.argmax(axis=1)).mean())
    return Verification(layers, agreement, float(np.abs(wanted - seen.outputs).mean()), len(wanted), seen.n_steps)


def _check(p: Population, a: Array, seen: Observation) -> LayerCheck:
    rate, count = seen.rates[p.name], seen.counts[p.name]
    error = np.abs(rate - a)
    active = a > 0
    top = spike_value(p) * p.max_spikes
    full = (count >= seen.n_steps * p.max_spikes) & (a > top * (1 + 0.5 / seen.n_steps))
    used = active.any(axis=0)
    quiet = used & ~(count != 0).any(axis=0)
    varies = a.std() > 0 and rate.std() > 0
    return LayerCheck(
        name=p.name,
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        correlation=float(np.corrcoef(a.ravel(), rate.ravel())[0, 1]) if varies else None,
        mean_activation=float(a.mean()),
        rate=float(np.abs(count).mean() / seen.n_steps),
        silent=float(quiet.sum() / used.sum()) if used.any() else 0.0,
        saturated=float(full.sum() / active.sum()) if active.any() else 0.0,
    )


def _failures(network: SpikingNetwork, seen: Observation, result: Verification) -> list[str]:
    causes = []
    for c in result.layers:
        if c.rate == 0 and c.mean_activation > 0:
            causes.append(
                f"{c.name}: silent, no neuron spikes in {seen.n_steps} steps; thresholds are too high for so few steps: "
                "more steps, or a method with lower thresholds (ltb, percentile_norm)"
            )
        elif c.saturated > SATURATED:
            causes.append(
                f"{c.name}: saturated, {c.saturated:.0%} of its active neurons spike in every step and have more to send; "
                "thresholds are too low: more calibration data, or a higher percentile"
            )
    constant = len(seen.outputs) > 1 and bool((seen.outputs == seen.outputs[0]).all())
    if constant and not causes and len(np.unique(seen.inputs, axis=0)) > 1:
        causes.append(f"{network.output.name}: the same answer to every input")
    return causes


__all__ = ["LayerCheck", "Observation", "Verification", "observe", "observed", "population_name", "verify"]
