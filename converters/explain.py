"""Where the error of a conversion comes from, layer by layer, and what to do about it, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.network import INPUT, Population, SpikingNetwork, per_neuron

from .methods.stream import Calibration
from .methods.survey import Moments
from .mlp import MLP, check_inputs
from .verify import Observation, Verification, ann_values, compare, observe, spike_value, steps_of

Array = np.ndarray
PARTS = ("inherited", "clipping", "quantisation", "unevenness")
SOME = 0.02  # share of neurons, or of activations, from which a finding is worth a line
OUTLIER = 2.0  # thresholds beyond this multiple of the 99.9th percentile were set by outliers
FACTORS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0)  # of the thresholds, tried on the drives that were seen
WORTH = 0.15  # share of a layer's own error that other thresholds must save to be advised
UNLIKE = 0.25  # difference of means, in standard deviations of the calibration data
LOWER = "mmse or gaussian, made for one T, or ltb"
WHAT = {
    "inherited": "errors of the layers below",
    "clipping": "activations above the threshold",
    "quantisation": "rates that are whole multiples of theta/T",
    "unevenness": "spikes that did not arrive evenly in time",
}


@dataclass(frozen=True)
class LayerErrors:
    """Error theta N/T - a of one layer, split; every part as (mean, root of the mean square) in the units of the activations.

    The means add up: inherited + clipping + quantisation + unevenness = total, sample by sample and neuron by neuron.
    outliers : largest threshold over the 99.9th percentile of the layer's activations.
    max_spikes : k, the most spikes of a step.
    better : (factor, share): thresholds so many times as high would save that share of the root mean square of clipping and
        quantisation together, at the same T and drives; (1, 0) where none of ``FACTORS`` saves anything.
    """

    name: str
    inherited: tuple[float, float]
    clipping: tuple[float, float]
    quantisation: tuple[float, float]
    unevenness: tuple[float, float]
    total: tuple[float, float]
    outliers: float
    max_spikes: int = 1
    better: tuple[float, float] = (1.0, 0.0)

    @property
    def largest_own(self) -> str:
        """Name of the largest part that is made in this layer; empty where it makes no error."""
        own = max(PARTS[1:], key=lambda part: getattr(self, part)[1])
        return own if getattr(self, own)[1] > 0 else ""

    @property
    def largest(self) -> str:
        """Name of the part with the largest root mean square."""
        return max(PARTS, key=lambda part: getattr(self, part)[1])


@dataclass(frozen=True)
class Explanation:
    """Result of :func:`explain`: the check of ``verify``, the split per layer, and findings in words, most severe first."""

    verification: Verification
    layers: tuple[LayerErrors, ...]
    findings: tuple[str, ...]

    def __str__(self) -> str:
        rows = [str(self.verification), "", "error theta N/T - a, root mean square in units of the activations"]
        rows.append(f"{'layer':<10}" + "".join(f"{part:>14}" for part in (*PARTS, "total")))
        for layer in self.layers:
            rows.append(f"{layer.name:<10}" + "".join(f"{getattr(layer, part)[1]:>14.4g}" for part in (*PARTS, "total")))
        rows += ["", "the same, mean: here the parts add up to the total"]
        for layer in self.layers:
            rows.append(f"{layer.name:<10}" + "".join(f"{getattr(layer, part)[0]:>+14.4g}" for part in (*PARTS, "total")))
        rows.append("")
        rows += [f"- {finding}" for finding in self.findings] or ["- nothing stands out"]
        return "\n".join(rows)


def explain(network: Any, mlp: MLP, x: Array, n_steps: int | None = None, seen: Observation | None = None) -> Explanation:
    """Say where the error of each layer comes from and what would help.

    With a the ANN's activation, z the mean drive of the neuron over its window (from the rates below as they were),
    a' = max(z, 0), N' = clip(floor((v0 + z T)/theta), 0, k T) the count of a constant drive, and k the most spikes of a step:

        inherited    = a' - a                       clipping   = clip(a', 0, k theta) - a'
        quantisation = theta N'/T - clip(a', ...)   unevenness = theta N/T - theta N'/T

    Parameters
    ----------
    network : SpikingNetwork, or a Deployment.
    x : (n_samples, n_in) array, or (n_samples, n_seq, n_in): samples the conversion has not seen say most.
    n_steps : T; default the T it was made for, else 32.
    seen : what a run of exactly these samples gave, where there was one; else they are run here.

    Source: the split of Li et al. 2021, arXiv:2106.06984, and Bu et al. 2022, arXiv:2303.04347.

    Departs: for any v0, bursts and mean drives; what a layer inherits is kept apart. With reset to zero, per-step biases or
    a protocol the closed form is not the neuron's own, and the difference shows as unevenness.
    """
    net = network if isinstance(network, SpikingNetwork) else network.network
    x = check_inputs(x, mlp)
    seen = seen or observe(net, x, n_steps or steps_of(net))
    result = compare(net, mlp, x, seen)
    layers = decompose(net, mlp, x, seen)
    return Explanation(result, layers, tuple(_findings(net, mlp, x, result, layers)))


def decompose(network: SpikingNetwork, mlp: MLP, x: Array, seen: Observation) -> tuple[LayerErrors, ...]:
    """Return the split error of every spiking layer; recurrent layers inherit from their own earlier rates too."""
    ann = ann_values(network, mlp, x)
    n_seq = x.shape[1] if x.ndim == 3 else 1
    found = []
    for p in network.populations:
        if p.name not in ann or not p.spiking:
            continue
        scale = np.asarray(p.scale, np.float64)
        theta, z = per_neuron(spike_value(p), p.size), mean_drive(network, p, seen, n_seq) * scale
        v_init = per_neuron(p.v_init, p.size) * scale
        a, sent = ann[p.name], seen.rates[p.name]
        local = np.maximum(z, 0)
        limited = np.minimum(local, theta * p.max_spikes)
        # A tie moves by one spike between here and the engine only through the division by T; the nudge is 1e-9 theta.
        count = np.clip(np.floor((v_init + z * seen.n_steps) / theta + 1e-9), 0, seen.n_steps * p.max_spikes)
        quantised = count * (theta / seen.n_steps)
        parts = {
            "inherited": local - a,
            "clipping": limited - local,
            "quantisation": quantised - limited,
            "unevenness": sent - quantised,
            "total": sent - a,
        }
        top = float(np.percentile(a, 99.9))
        found.append(
            LayerErrors(
                p.name,
                **{name: (float(e.mean()), float(np.sqrt(np.mean(e**2)))) for name, e in parts.items()},
                outliers=float(theta.max()) / top if top > 0 else float("inf"),
                max_spikes=p.max_spikes,
                better=_better(z, theta, v_init / theta, seen.n_steps, p.max_spikes),
            )
        )
    return tuple(found)


def _better(z: Array, theta: Array, started: Array, n_steps: int, most: int) -> tuple[float, float]:
    """Return which of ``FACTORS`` times ``theta`` leaves the least clipping and quantisation, and the share it saves.

    z : (n_samples, size) mean drives; started : v_init/theta, which stays.
    """
    wanted = np.maximum(z, 0)
    errors = []
    for factor in FACTORS:
        unit = theta * (factor / n_steps)
        count = np.clip(np.floor(started + z / unit), 0, n_steps * most)
        errors.append(float(np.sqrt(np.mean((count * unit - wanted) ** 2))))
    now, least = errors[FACTORS.index(1.0)], min(errors)
    if least >= now:
        return 1.0, 0.0
    return FACTORS[errors.index(least)], 1 - least / now


def mean_drive(network: SpikingNetwork, p: Population, seen: Observation, n_seq: int = 1) -> Array:
    """Return the drive of every neuron, averaged over the window, (n_samples, size), in the units of the population's v."""
    bias = np.zeros(p.size) if p.bias is None else np.asarray(p.bias, np.float64)
    z = np.tile(bias[: seen.n_steps].mean(axis=0) if bias.ndim == 2 else bias, (len(seen.inputs), 1))
    unit = None if p.grid is None else per_neuron(p.grid, p.size)
    for j in network.incoming(p.name):
        if j.pre == INPUT:
            current = _product(seen.inputs.astype(np.float64), j.weight)
            # Engines round currents to the grid before they sum them.
            z += current if unit is None else np.rint(current / unit) * unit
            continue
        pre = network[j.pre]
        rate = seen.counts[j.pre] / seen.n_steps * per_neuron(pre.amplitude, pre.size)
        if j.delay == "window":
            sequence = rate.reshape(-1, n_seq, pre.size)
            rate = np.concatenate([np.zeros_like(sequence[:, :1]), sequence[:, :-1]], axis=1).reshape(rate.shape)
        z += _product(rate, j.weight)
    if unit is not None:
        z = np.rint(z * seen.n_steps / unit) * unit / seen.n_steps
    return z


# -- in words ---------------------------------------------------------------------------------------


def _findings(
    network: SpikingNetwork, mlp: MLP, x: Array, result: Verification, layers: tuple[LayerErrors, ...]
) -> list[str]:
    # What is wrong with the run or the data first: much of the rest follows from it.
    found = [*_about_t(network, result), *_about_data(network, mlp, x), *_about_outliers(layers)]
    within = _steps(result.n_steps)
    split = {layer.name: layer for layer in layers}
    clipped = set()
    for check in result.layers:
        if check.rate == 0 and check.mean_activation > 0:
            found.append(f"{check.name} is silent: no neuron spikes in {within}. Take more steps, or lower thresholds ({LOWER}).")
        elif check.silent > SOME:
            found.append(
                f"{check.name}: {check.silent:.0%} of the neurons that are active in the network never spike in {within}. "
                f"Take more steps, or lower thresholds, one a neuron ({LOWER})."
            )
        errors = split.get(check.name)
        # At few steps a good threshold clips a little: it is worth a line only where a higher one would lose less.
        if check.saturated > SOME and (errors is None or (errors.better[0] > 1 and errors.better[1] >= WORTH)):
            clipped.add(check.name)
            found.append(
                f"{check.name}: {check.saturated:.0%} of its active neurons are saturated: they spike in every step and have more to "
                "send. Raise thresholds: more iterations of ltb, or a higher percentile."
            )
    found += [_main_cause(layer, result.n_steps, layer.name in clipped) for layer in layers if layer.total[1] > 0]
    return found


def _steps(n_steps: int) -> str:
    return "1 step" if n_steps == 1 else f"{n_steps} steps"


def _about_outliers(layers: tuple[LayerErrors, ...]) -> list[str]:
    return [
        f"{layer.name}: its threshold is {layer.outliers:.1f} times the 99.9th percentile of its activations: a few outliers set it, "
        "and everybody else needs more steps. Use percentile_norm or ltb."
        for layer in layers
        if layer.outliers > OUTLIER
    ]


def _about_t(network: SpikingNetwork, result: Verification) -> list[str]:
    made_for = network.info.get("calibrated_for_T")
    if made_for is not None and int(made_for) != result.n_steps:
        return [f"it was calibrated for T = {made_for} and ran with T = {result.n_steps}. Convert again for the T you run."]
    return []


def _about_data(network: SpikingNetwork, mlp: MLP, x: Array) -> list[str]:
    """Compare the samples with what the calibration data were like: inputs, and activations of every layer."""
    then = network.info.get("calibration")
    if not then:
        return []
    now: dict[str, Moments] = {"inputs": Moments(), **{name: Moments() for name in then["activations"]}}
    for batch in Calibration(x, mlp).batches():
        now["inputs"].add(batch)
        values = ann_values(network, mlp, batch)
        for name in then["activations"]:
            now[name].add(values[name])
    found = []
    for name, moments in now.items():
        old, new = (then["inputs"] if name == "inputs" else then["activations"][name]), moments.summary()
        if old["std"] > 0 and abs(new["mean"] - old["mean"]) > UNLIKE * old["std"]:
            found.append(
                f"{name}: mean {new['mean']:.3g} here, {old['mean']:.3g} (standard deviation {old['std']:.3g}) in calibration: "
                "the calibration data are unlike these samples. Calibrate on data like those you will run."
            )
        elif old["high"] > 0 and new["high"] > OUTLIER * old["high"]:
            found.append(
                f"{name}: values up to {new['high']:.3g}, in calibration up to {old['high']:.3g}: "
                "what exceeds the thresholds is clipped. Calibrate on data like those you will run."
            )
    return found


def _main_cause(layer: LayerErrors, n_steps: int, said: bool) -> str:
    """Return the largest part of a layer's error and its cure; ``said``: that for clipping stands above already."""
    part = layer.largest
    mean, size = getattr(layer, part)
    cure = {
        "inherited": "Look at the layers below first." if layer.largest_own == "" else f"Look at the layers below first; of its own, {layer.largest_own} is the largest.",
        "clipping": "Raise thresholds, as said." if said else (_other(layer, n_steps) or f"More than {_steps(n_steps)} would help, with higher thresholds."),
        "quantisation": f"More than {_steps(n_steps)} would help. {_other(layer, n_steps)}".rstrip(),
        "unevenness": "More steps, or calibration, would help.",
    }[part]
    return f"{layer.name}: most of its error ({size:.3g} of {layer.total[1]:.3g}, root mean square) is {part}: {WHAT[part]}. {cure}"


def _other(layer: LayerErrors, n_steps: int) -> str:
    """Return what other thresholds would save at the same T, and how to get them; "" where it is not worth a word."""
    factor, share = layer.better
    if share < WORTH:
        return ""
    if layer.max_spikes > 1:
        how = f"another percentile, {'higher' if factor > 1 else 'lower'}"
    else:
        how = "more iterations of ltb, or a higher percentile" if factor > 1 else f"mmse or gaussian, made for T = {n_steps}, or auto"
    return f"So would thresholds about {factor:g} times as high ({share:.0%} less lost to clipping and quantisation): try {how}."


def _product(values: Array, weight: Any) -> Array:
    return np.asarray((weight @ values.T).T) if sp.issparse(weight) else values @ np.asarray(weight, np.float64).T


__all__ = ["Explanation", "LayerErrors", "decompose", "explain"]
