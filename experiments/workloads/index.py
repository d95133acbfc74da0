"""Databases: a learned index, from a key to its position in a sorted array, in two stages; the first one spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from converters.mlp import MLP, Dense
from converters.train import TrainOptions, train
from neuro.network import SpikingNetwork

from .base import Context, Extra, Fold, Metric, Respond, Task
from .limits import limited

Array = np.ndarray
KEYS, BUILD, ASKED, LEAVES = 1_000_000, 10_000, 2_500, 200
PAGE = 128
# Answers are positions from the middle: a register that holds both signs then holds twice as many steps.
MIDDLE = KEYS / 2
LEVELS = (4, 16, 64, 256, 1024, 4096)
STEPS = {"lognormal": (16, 32, 64, 128, 256), "gaps": (64, 128, 192, 256, 384, 512)}
RIDGE = 1.0
# Every neuron's largest activation: what a threshold clips off a regression, no later stage gives back.
WIDE = {"name": "max_norm", "per_neuron": True}
WINDOW = Metric("99 % window", lambda f: float(np.quantile(f[:, 0], 0.99)), "positions", "lower")
MORE = (
    Metric("largest error", lambda f: float(f[:, 0].max()), "positions", "lower"),
    Metric("median error", lambda f: float(np.median(f[:, 0])), "positions", "lower"),
)


def build(context: Context) -> tuple[Task, ...]:
    """Return lognormal keys and keys with gaps. Baseline: a linear first stage; a B-tree's lookups stand beside."""
    return (
        _task(context, "lognormal", "lognormal keys", lognormal(), np.log),
        _task(context, "gaps", "real-valued keys with gaps", gaps(), lambda keys: keys),
    )


def lognormal() -> Array:
    """Return a million keys, exp(2 z) with z normal, sorted; as in the literature (mu 0, sigma 2)."""
    return np.sort(np.exp(2 * np.random.Generator(np.random.Philox(0)).standard_normal(KEYS)))


def gaps() -> Array:
    """Return a million keys in 60 runs of different density with empty stretches between, sorted."""
    rng = np.random.Generator(np.random.Philox(1))
    edges = np.sort(rng.random(120)).reshape(60, 2)
    share = rng.multinomial(KEYS, rng.dirichlet(np.full(60, 2.0)))
    return np.sort(np.concatenate([low + (high - low) * rng.random(n) for (low, high), n in zip(edges, share, strict=True)]))


def lookup(respond: Respond, x: Array, rows: tuple[Array, Array], both: Array | None = None) -> Array:
    """Return |true - predicted position| of the asked keys through both stages, (n_asked, 2): error, true position.

    Stage 1, the network, says roughly where a key lies, and so which of the leaves answers: floor(leaves y). Stage 2 is a
    straight line a leaf, fitted by least squares to the built keys that this very first stage sends there.

    rows : of the built and of the asked keys. both : x of these, in this order, where it is at hand.

    Source: T. Kraska et al., "The case for learned index structures", SIGMOD 2018, doi:10.1145/3183713.3196909, sec. 3.2.
    Departs: 200 leaves fitted to every 100th key, and errors of keys between those.
    """
    built, asked = rows
    answers = respond(x[np.concatenate([built, asked])] if both is None else both)[:, 0] / KEYS
    leaf = np.clip((answers * LEAVES).astype(np.int64), 0, LEAVES - 1)
    own, other = leaf[: len(built)], leaf[len(built) :]
    xb, yb, xa = x[built, 0].astype(np.float64), built.astype(np.float64), x[asked, 0].astype(np.float64)
    n = np.bincount(own, minlength=LEAVES)
    safe = np.maximum(n, 1)
    mx, my = (np.bincount(own, v, LEAVES) / safe for v in (xb, yb))
    cx, cy = xb - mx[own], yb - my[own]
    spread = np.bincount(own, cx * cx, LEAVES)
    slope = np.bincount(own, cx * cy, LEAVES) / np.where(spread > 0, spread, 1)
    line = my[other] + slope[other] * (xa - mx[other])
    predicted = np.where(n[other] > 0, line, answers[len(built) :] * KEYS)  # an empty leaf hands on the first stage's answer
    return np.stack([np.abs(np.clip(predicted, 0, KEYS - 1) - asked), asked], axis=1)


def from_start(respond: Respond) -> Respond:
    """Return answers as positions from the first key."""
    return lambda x: respond(x) + MIDDLE


def comparisons(window: float) -> int:
    """Return the key comparisons of a binary search within +- window positions."""
    return int(np.ceil(np.log2(2 * max(window, 0.5) + 1)))


def _task(context: Context, name: str, title: str, keys: Array, spread: Callable[[Array], Array]) -> Task:
    values = spread(keys)
    x = ((values - values[0]) / (values[-1] - values[0])).astype(np.float32)[:, None]
    position = np.arange(KEYS, dtype=np.float32)[:, None]
    rows = (np.arange(0, KEYS, KEYS // BUILD), np.arange(25, KEYS, KEYS // ASKED))
    both = x[np.concatenate(rows)]

    def fit() -> MLP:
        take = np.arange(0, KEYS, 50)
        options = TrainOptions(epochs=10, patience=0, validation=0.0, batch_size=256, learning_rate=3e-4, learning_rate_decay=0.8)
        return train(spread_out(x[take], position[take] / KEYS), x[take], position[take] / KEYS, options, progress=context.progress)

    mlp = in_positions(context.network(f"index-{name}", fit))

    def play(respond: Respond) -> Array:
        return lookup(from_start(respond), x, rows, both)

    linear = np.polyfit(x[rows[0], 0], rows[0], 1)

    def extras(ann: Respond, snn: Respond, network: SpikingNetwork, n_steps: int) -> tuple[Extra, ...]:
        def row(label: str, facts: Array, used: int) -> tuple[object, ...]:
            w99, top = (float(np.quantile(facts[:, 0], q)) for q in (0.99, 1.0))
            return label, f"{w99:,.0f}", f"{top:,.0f}", comparisons(w99), comparisons(top), used

        def leaves(respond: Respond) -> int:
            return len(np.unique(np.clip((from_start(respond)(x[rows[1]])[:, 0] / KEYS * LEAVES).astype(int), 0, LEAVES - 1)))

        table = [row("ANN", play(ann), leaves(ann))]
        for t in LEVELS:
            respond = limited(mlp, network, t).forward
            table.append(row(f"spiking, T = {t:,}", play(respond), leaves(respond)))
        tree = int(np.ceil(np.log(KEYS) / np.log(PAGE)))
        text = (
            f"A B-tree with {PAGE} keys a page finds any of a million keys in {tree} pages, {int(np.ceil(np.log2(KEYS)))} comparisons "
            "and no network; a learned index pays the network and then the comparisons of its window. Windows are of keys not built on. "
            "One layer driven evenly sends the counts that its closed form gives, so that this table needs no simulation; "
            "compare it with the simulated one above where both have the same T."
        )
        columns = ("First stage", "window of 99 %", "window of all", "comparisons, 99 %", "comparisons, all", f"leaves used of {LEAVES}")
        return (Extra("Steps T against the window to search", text, columns, tuple(table)),)

    quarter = np.array(["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"])[rows[1] * 4 // KEYS]
    return Task(
        name=f"index/{name}",
        title=f"Learned index, {title}",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)) + f", then {LEAVES} lines",
        unit="keys looked up",
        folds=(Fold(mlp, np.concatenate([x[:: KEYS // 1000], x[-1:]]), play, x[rows[1][::10]]),),
        metric=WINDOW,
        more=MORE,
        baselines=(("a straight line as first stage", lookup(lambda v: np.polyval(linear, v), x, rows)),),
        groups={"position": quarter},
        card=(
            ("Keys", f"{KEYS:,} {title}, generated with a fixed seed; duplicates: {KEYS - len(np.unique(keys)):,}"),
            ("Built on", f"every {KEYS // BUILD}th key, {BUILD:,}; looked up: {ASKED:,} keys between those, none of them built on"),
            ("Leakage", "none: the asked keys are not built on; an index of all keys would be built on all of them"),
            ("Groups", "keys by the quarter of the array they stand in"),
            ("Input", "the key" + (", its logarithm taken by the host" if name == "lognormal" else "") + ", scaled to 0 to 1"),
            ("Licence", "made here"),
        ),
        method=WIDE,
        steps=STEPS[name],
        extras=extras,
        notes=("The lines of the second stage are on the host and fitted to the first stage that is deployed: to the ANN for the ANN, to the spikes for the spikes.",),
    )


def spread_out(x: Array, y: Array, hidden: int = 96) -> MLP:
    """Return a network to start from: half its kinks rising, half falling, spread over the keys; outputs fitted by ridge regression.

    The usual start, biases at zero, puts all kinks of a single input at 0, where no key is. Every hidden neuron's largest
    activation is one, and the ridge holds the norm of the outputs' weights: a neuron that counts in T steps is off by up to
    1/(2 T) of its largest activation, which reaches the answer times that weight.
    """
    half = hidden // 2
    at = np.concatenate([np.quantile(x, np.linspace(0, 1, half, endpoint=False)), np.quantile(x, np.linspace(1, 0, half, endpoint=False))])
    sign = np.repeat([1.0, -1.0], half)
    slope = sign / np.maximum(x * sign - sign * at, 0).max(axis=0)
    a = np.c_[np.maximum(slope * (x - at), 0), np.ones(len(x))]
    best = np.linalg.solve(a.T @ a + RIDGE * np.diag([1.0] * hidden + [0.0]), a.T @ y)[:, 0].astype(np.float32)
    first = Dense(slope[:, None].astype(np.float32), (-slope * at).astype(np.float32), name="hidden1")
    return MLP((first, Dense(best[None, :-1], best[-1:], "identity", name="output")), task="regression")


def in_positions(mlp: MLP) -> MLP:
    """Return the network answering in positions from the middle, not in 0 to 1, which 16-bit weights hold: the last layer times the number of keys."""
    last = mlp.layers[-1]
    scaled = replace(last, weight=np.asarray(last.weight) * np.float32(KEYS), bias=last.bias * np.float32(KEYS) - np.float32(MIDDLE))
    return replace(mlp, layers=(*mlp.layers[:-1], scaled))
