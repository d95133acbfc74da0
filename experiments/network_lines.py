"""A spiking network as lines for a terminal: its populations, its projections, and what became of each node of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuro.engines.lowering import weight_count
from neuro.network import INPUT, Population, Projection, SpikingNetwork
from neuro.neurons import rules_of

from .units import table

if TYPE_CHECKING:
    from neuro.deploy import Deployment


def network_lines(value: SpikingNetwork | Deployment, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return a spiking network, or that of a deployment, as lines and as plain values."""
    network = value if isinstance(value, SpikingNetwork) else value.network
    populations = [_population(p) for p in network.populations]
    projections = [_projection(network, j) for j in network.projections]
    total = sum(weight_count(j.weight) for j in network.projections)
    what = f"a spiking network on {value.chip.name}" if not isinstance(value, SpikingNetwork) else "a spiking network already"
    sizes = "-".join(str(n) for n in (network.input_size, *(p.size for p in network.populations if p.encoder is None)))
    lines = [f"{name}: {what}, {sizes}, {network.task}, {total:,} synapses", ""]
    heads: tuple[str, ...] = ("population", "neurons", "rule", "threshold", "starts at", "bias", "first step")
    lines += table(heads, [tuple(p[key] for key in POPULATION) for p in populations], right=(1, 6))
    heads = ("projection", "weights", "synapses", "delay")
    lines += ["", *table(heads, [tuple(j[key] for key in PROJECTION) for j in projections], right=(2,))]
    parts = network.info.get("nodes", [])
    if parts:
        lines += ["", "What became of the file's nodes:"]
        lines += table(("node", "becomes"), [(part["node"], part["becomes"]) for part in parts])
    lines += ["", *_story(network)]
    return lines, {
        "sizes": [network.input_size, *(p.size for p in network.populations)],
        "task": network.task,
        "classes": list(network.classes),
        "sha256": network.sha256,
        "exact": network.exact,
        "depth": network.depth,
        "populations": populations,
        "projections": projections,
        "parts": parts,
    }


POPULATION = ("name", "neurons", "rule", "threshold", "v_init", "bias", "start")
PROJECTION = ("name", "weights", "synapses", "delay")


def _population(p: Population) -> dict[str, str]:
    rule = f"spikes of the {p.encoder} encoder" if p.encoder else ", ".join(rules_of(p))
    if p.leak is not None and p.leak.kind == "exact":
        rule = rule.replace("leak_exact", f"leak_exact x {p.leak.factor:.4g}")
    if p.refractory:
        rule += f" {p.refractory}"
    fires = p.v_threshold is not None and p.encoder is None and p.reset is not None
    bias = "none" if p.bias is None or not np.any(p.bias) else _range(p.bias) + (" by step" if np.ndim(p.bias) == 2 else "")
    return {
        "name": p.name,
        "neurons": f"{p.size:,}",
        "rule": rule,
        "threshold": f"v {p.comparison} {_range(p.v_threshold)}" if fires else "none",
        "v_init": "none" if p.encoder else _range(p.v_init),
        "bias": bias,
        "start": str(p.start),
    }


def _projection(network: SpikingNetwork, j: Projection) -> dict[str, str]:
    lag = network.lag(j)
    if j.delay == "window":
        delay = "to the next input of the sequence"
    elif j.pre == INPUT:
        delay = "none"
    else:
        delay = _steps(int(j.delay)) + (f"; returns within the input after {_steps(lag)}" if lag else "")
    n_post, n_pre = j.weight.shape
    return {"name": f"{j.pre} -> {j.post}", "weights": f"{n_post:,} x {n_pre:,}", "synapses": f"{weight_count(j.weight):,}", "delay": delay}


def _steps(n: int) -> str:
    return f"{n} step{'s' * (n != 1)}"


def _range(values: Any) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _story(network: SpikingNetwork) -> list[str]:
    said = [f"inputs: {network.input_low:g} to {network.input_high:g}"]
    if network.classes:
        said.append(f"classes: {', '.join(network.classes[:20])}{', ...' if len(network.classes) > 20 else ''}")
    later = f" + {network.depth - 1}" if network.depth > 1 else ""
    said.append(f"an answer after T{later} steps")
    exact = "whole numbers of a grid: the same spikes on every engine" if network.exact else "floating point: engines may differ where a potential meets its threshold"
    return [*said, exact]


__all__ = ["network_lines"]
