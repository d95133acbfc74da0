"""The neurons of NIR, which are differential equations, as the rule of one step of length dt.

A node states tau dv/dt = (v_leak - v) + R I, fires where v > v_threshold and is set to v_reset. In steps, with ratio
a = dt / tau, the potential becomes f v + k + g I, where

``euler``   f = 1 - a,        g = a R,         k = a v_leak         (snnTorch, SpikingJelly, Norse)
``exact``   f = exp(-a),      g = (1 - f) R,   k = (1 - f) v_leak   (sinabs)

and an IF or I node has f = 1, g = R dt, k = 0; R = 1 in all its neurons stands for g = 1 (Norse, sinabs and snnTorch mean one
unit a step, SpikingJelly writes 1 / dt). NIR states neither dt, nor the discretisation, nor the potential at the start; that is
v_reset where there is one (SpikingJelly, Norse), zero otherwise.

A population of ours fires where u >= theta (or >) and is reset to 0 or by theta. With u = v - c:

reset to v_reset       c = v_reset,              theta = v_threshold - v_reset,   u starts at 0
reset by an amount A   c = v_threshold - A,      theta = A,                       u starts at -c

A = v_threshold, or v_threshold / f where it is taken off after the next decay (snnTorch). The bias is k - (1 - f) c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro.network import Leak, Population, per_neuron

from .nir_file import NirNode
from .options import LoadOptions

Array = np.ndarray
NEURONS = ("IF", "LIF", "CubaLIF", "I", "LI", "CubaLI", "Threshold")
CLOSE = 1e-6  # relative; NIR files hold float32


@dataclass(frozen=True, eq=False)
class Rule:
    """v <- factor v + constant + gain I; fires where v > threshold; then v <- reset, or v <- v - amount.

    All but ``factor`` are (n,) or () arrays; threshold None: only integrates.
    """

    factor: float
    gain: Array
    constant: Array
    threshold: Array | None = None
    reset: Array | None = None
    amount: Array | None = None
    pause: int = 0  # steps after a spike that are spent at the reset, taking nothing in


def rule_of(node: NirNode, options: LoadOptions, dt: float | None) -> Rule:
    """Return the rule of one step of a neuron node; raise ValueError where the engines have no counterpart.

    dt : length of a step in the unit of the file's time constants; None where nobody said.
    """
    if node.kind == "Threshold":  # no memory: the potential is what arrives
        return Rule(0.0, np.ones(()), np.zeros(()), node.array("threshold"), reset=np.zeros(()))
    rule = _membrane(node, options, dt)
    if node.kind in ("CubaLIF", "CubaLI"):
        rule = replace(rule, gain=rule.gain * _synapse(node, dt))
    if node.kind in ("I", "LI", "CubaLI"):
        return rule
    threshold = node.array("v_threshold")
    if options.nir_reset == "subtract":
        return replace(rule, threshold=threshold, amount=threshold)
    if options.nir_reset == "subtract_next":
        if rule.factor == 0:
            raise ValueError("forgets within one step, so that nothing is left to subtract from in the next; give another nir_reset")
        return replace(rule, threshold=threshold, amount=threshold / rule.factor)
    reset = node.array("v_reset") if node.values.get("v_reset") is not None else np.zeros(())
    return replace(rule, threshold=threshold, reset=reset, pause=int(options.nir_reset == "zero_next"))


def _membrane(node: NirNode, options: LoadOptions, dt: float | None) -> Rule:
    resistance = node.array("r")
    if node.kind in ("IF", "I"):
        if dt is None and not (resistance == 1).all():
            raise ValueError(f"r is {_shown(resistance)} and the file does not say how long a step is; {_SAY_DT}")
        # r = 1 is how Norse, sinabs and snnTorch say "one unit a step", whatever a step lasts.
        gain = resistance * (1.0 if dt is None or (resistance == 1).all() else dt)
        return Rule(1.0, np.where(np.abs(gain - 1) < CLOSE, 1.0, gain), np.zeros(()))
    tau, leak = node.array("tau" if node.kind in ("LIF", "LI") else "tau_mem"), node.array("v_leak")
    if dt is None:
        raise ValueError(f"the time constant is {_shown(tau)} and the file does not say how long a step is; {_SAY_DT}")
    if not (tau > 0).all():
        raise ValueError(f"its time constant is {_shown(tau)}, expected positive numbers")
    ratio = dt / tau
    if np.ptp(ratio) > CLOSE * np.max(ratio):
        raise ValueError(f"its time constants differ from neuron to neuron ({_shown(tau)}); the engines take one a population")
    share = float(np.mean(ratio))
    if options.nir_leak == "exact":
        share = -float(np.expm1(-share))
    elif share > 1 + CLOSE:
        raise ValueError(f"a step of {dt:g} is longer than its time constant {_shown(tau)}; give a shorter nir_dt, or nir_leak=exact")
    factor = max(0.0, 1.0 - share)
    return Rule(0.0 if factor < CLOSE else factor, share * resistance, share * leak)


def _synapse(node: NirNode, dt: float | None) -> Array:
    """Return what a spike adds to the current: w_in, where the synapse forgets within one step."""
    tau = node.array("tau_syn")
    if dt is None or np.abs(tau - dt).max(initial=0.0) > CLOSE * dt:
        raise ValueError(
            f"its synaptic current decays with tau_syn = {_shown(tau)}; the engines have no such state. It can be read where tau_syn is "
            "one step; otherwise train with an LIF neuron (snnTorch: Leaky instead of Synaptic)"
        )
    return node.array("w_in") if "w_in" in node.values else np.ones(())


_SAY_DT = "give nir_dt (snnTorch and SpikingJelly: 1e-4, Norse: 1e-6, sinabs: 1)"


def _shown(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def population_of(name: str, size: int, rule: Rule) -> tuple[Population, Array]:
    """Return the population of a rule and the gain on its arriving sums, (size,); the bias is that of the rule alone.

    Raises
    ------
    ValueError : parameters of another shape, or a threshold that is not above the reset.
    """
    gain, constant = _sized("gain", rule.gain, size), _sized("leak", rule.constant, size)
    if rule.threshold is None:
        return Population(name, size, reset=None, bias=constant, leak=_leak(rule)), gain
    threshold = _sized("threshold", rule.threshold, size)
    if rule.amount is not None:
        theta = _sized("reset", rule.amount, size)
        shift = threshold - theta
    else:
        assert rule.reset is not None
        shift = _sized("reset", rule.reset, size)
        theta = threshold - shift
    if not (theta > 0).all():
        raise ValueError(f"its threshold lies {-float(theta.min()):g} below its reset, expected above it: it would fire for ever")
    return (
        Population(
            name,
            size,
            v_threshold=_compact(theta),
            v_init=_compact(-shift) if rule.amount is not None else 0.0,
            reset="subtract" if rule.amount is not None else "zero",
            comparison=">",
            bias=constant - (1.0 - rule.factor) * shift,
            leak=_leak(rule),
            refractory=rule.pause,
            refractory_mode="hold",
        ),
        gain,
    )


def _leak(rule: Rule) -> Leak | None:
    return None if rule.factor == 1.0 else Leak("exact", factor=rule.factor)


def _sized(what: str, values: Any, size: int) -> Array:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size not in (1, size):
        raise ValueError(f"its {what} has {array.size} values, {size} arrive")
    return np.array(per_neuron(array if array.size == size else array[0], size))


def _compact(values: Array) -> float | Array:
    return float(values[0]) if (values == values[0]).all() else values
