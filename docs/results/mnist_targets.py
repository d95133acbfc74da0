"""Measure the chains of mnist_targets.md with the engine: python docs/results/mnist_targets.py NETWORK.npz ... > TABLES.md.

Every network: trained MNIST 784-1200-1200-10 (a file of ours, or arrays W0 b0 W1 b1 ...). Calibration: 2,000 training images
drawn by seed 0, no labels. Engine ``batched``, 10,000 test images, potential read-out. Set SPIKEPORT_DATA to where the data lie.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

import converters
import neuro
from converters.convert import GRID, _info, assemble, begin
from converters.methods import resolve
from converters.methods.draft import Draft
from converters.methods.survey import survey
from converters.mlp import MLP
from experiments.datasets import load_dataset
from neuro.network import SpikingNetwork

Array = np.ndarray
ROUNDS = {"name": "calibration", "rounds": 3}
P99 = [{"name": "percentile_norm", "percentile": 99.0}, ROUNDS]
# What, chain, T, encoding, (bits, scale a neuron), wanted loss [points], wanted disagreement [%].
Case = tuple[str, Any, int, str, tuple[int, bool] | None, float | None, float | None]
CASES: tuple[Case, ...] = (
    ("`mmse` per neuron", {"name": "mmse", "per_neuron": True}, 1, "constant", None, 0.30, 0.85),
    ("`mmse` per neuron + `calibration`", [{"name": "mmse", "per_neuron": True}, "calibration"], 2, "constant", None, 0.15, 0.55),
    ("`percentile_norm` 99 + `calibration` (3 rounds)", P99, 4, "constant", None, 0.12, 0.40),
    ("`percentile_norm` 99.9", "percentile_norm", 16, "constant", None, None, 0.10),
    ("regular spikes, `percentile_norm` 99 + `calibration` (3 rounds)", P99, 4, "regular", None, 0.15, None),
    ("regular spikes, `percentile_norm` 99.9", "percentile_norm", 8, "regular", None, 0.10, None),
    ("8-bit weights, a scale a layer", P99, 4, "constant", (8, False), 0.15, None),
    ("5-bit weights, a scale a layer", P99, 4, "constant", (5, False), 0.30, None),
    ("4-bit weights, a scale a neuron", P99, 4, "constant", (4, True), 0.15, None),
)


def converted(mlp: MLP, calibration: Array, chain: Any, n_steps: int, folded: tuple[int, bool] | None) -> SpikingNetwork:
    """Return the spiking network; ``folded``: every layer's weights rounded to so many bits after folding thresholds into them."""
    if folded is None:
        return converters.convert(mlp, calibration=calibration, method=chain, n_steps=n_steps)
    steps, draft = resolve(chain), begin(mlp, calibration, n_steps=n_steps)
    seen = survey(draft)
    for step in steps:
        draft = step.run(draft)
    return assemble(_rounded(draft, *folded), GRID, _info(draft, steps, seen), seen)


def _rounded(draft: Draft, bits: int, per_neuron: bool) -> Draft:
    """Return the draft with W_ij theta_j / theta_i rounded to ``bits`` at the scale with the least squared error; biases as they are."""
    below, changes = np.ones(draft.mlp.n_in), {}
    top_level = 2 ** (bits - 1) - 1
    for i, n in enumerate(draft.neurons):
        theta = n.theta if i in draft.hidden else np.ones(n.layer.n_out)
        folded = n.layer.weight * below / theta[:, None]
        largest = np.abs(folded).max(axis=1 if per_neuron else None, keepdims=True)
        best, least = folded, np.full(largest.shape, np.inf)
        for share in np.linspace(0.3, 1, 15):
            unit = share * largest / top_level
            tried = np.clip(np.rint(folded / unit), -top_level, top_level) * unit
            error = ((tried - folded) ** 2).sum(axis=1 if per_neuron else None, keepdims=True)
            best, least = np.where(error < least, tried, best), np.minimum(error, least)
        weight = (best * theta[:, None] / below).astype(np.float32)
        changes[i] = {"layer": replace(n.layer, weight=weight), "bias": n.drive_bias}
        below = theta
    return draft.with_neurons(changes)


def main(files: list[str]) -> None:
    """Measure every case on every network; print one line a case."""
    data = load_dataset("mnist")
    x, y = data.x_test, data.y_test
    order = np.random.default_rng(0).permutation(len(data.x_train))
    calibration = data.x_train[np.sort(order[:2000])]
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in files:
        mlp = converters.load(file)
        ann = mlp.predict(x)
        accuracy = np.mean(ann == y)
        print(f"{file}: {100 * accuracy:.2f} %", file=sys.stderr, flush=True)
        for what, chain, n_steps, encoding, folded, *_ in CASES:
            network = converted(mlp, calibration, chain, n_steps, folded)
            answers = neuro.simulate(network, x, n_steps, encoding=encoding).predictions
            loss, differ = 100 * (accuracy - np.mean(answers == y)), 100 * np.mean(answers != ann)
            found[what].append((float(loss), float(differ)))
            print(f"  {what}, T = {n_steps}: {loss:.2f} {differ:.2f}", file=sys.stderr, flush=True)
    print("| T | what | loss [points], each network | mean | wanted | disagreement [%], each network | mean | wanted |")
    print("|---|---|---|---|---|---|---|---|")
    for what, _, n_steps, _, _, wanted, wanted_disagreement in CASES:
        loss, differ = np.array(found[what]).T
        cells = [" ".join(f"{v:.2f}" for v in loss), f"{loss.mean():.2f}", _number(wanted)]
        cells += [" ".join(f"{v:.2f}" for v in differ), f"{differ.mean():.2f}", _number(wanted_disagreement)]
        print(f"| {n_steps} | {what} | " + " | ".join(cells) + " |")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(sys.argv[1:])
