"""What a workload is made of: folds, a metric, baselines, groups; and the context it is built in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters.methods import Chain
from converters.mlp import MLP
from experiments.datasets.base import Dataset
from experiments.datasets.card import data_card
from neuro.network import SpikingNetwork
from neuro.progress import ProgressCallback

from . import weights

Array = np.ndarray
Respond = Callable[[Array], Array]
"""Inputs (n, n_in), or (n, n_seq, n_in) of a recurrent network, to its outputs (n, n_out): the ANN, or a spiking network at one T."""

Play = Callable[[Respond], Array]
"""Let a network answer; return the facts (n_units, k) that the metric judges: a row a test image, a game, a translated number."""


@dataclass(frozen=True)
class Metric:
    """One number computed from facts.

    Parameters
    ----------
    name : as it stands in the table. unit : ``"%"`` for shares, else the unit of the value; "" for a plain number.
    value : facts (n_units, k) to the number.
    better : whether higher or lower values are better.
    share : the number is the mean of column 0, which holds 0 and 1: its interval is Wilson's; otherwise the bootstrap's.
    """

    name: str
    value: Callable[[Array], float]
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    share: bool = False


@dataclass(frozen=True, eq=False)
class Fold:
    """One trained network and how it is judged; several folds make a cross-validation.

    Parameters
    ----------
    mlp : the trained network, its weights exactly representable in 16 bits.
    calibration : (m, n_in) or (m, n_seq, n_in) inputs of the training data, from which thresholds are taken.
    play : lets a network answer all units of this fold.
    probe : inputs on which energy, latency and rates are counted; a fair sample of what ``play`` asks.
    """

    mlp: MLP
    calibration: Array
    play: Play
    probe: Array


@dataclass(frozen=True)
class Clip:
    """A sound to play: label, samples in [-1, 1], rate [Hz]."""

    label: str
    signal: Array
    rate: int


@dataclass(frozen=True)
class Extra:
    """Something only one workload shows: a table, sounds, a sentence."""

    title: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    clips: tuple[Clip, ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    """One row of the comparison page.

    Parameters
    ----------
    name : ``"workload/task"``; title : in words.
    kind : the network in words, ``"feed-forward 64-64-10"``.
    unit : what one row of the facts is, plural: ``"test images"``.
    folds : one, or several of a cross-validation; their facts are put one below the other.
    metric, more : the number of the row, and further ones.
    baselines : (name, facts) pairs, the one that a sceptic would ask for first; the facts in the same order as those of the folds.
    groups : {kind of group: (n_units,) str}.
    card : (name, text) facts of the data: sizes, classes, duplicates, leakage, licence.
    steps : T of the sweep, ascending.
    method : of the conversion.
    engine : of the simulation; closed loops of few inputs a call are quicker on ``"reference"``, with the same spikes.
    extras : (ANN, spiking network at the chosen T, the spiking network itself, that T) -> what only this workload shows.
    notes : what is unusual, in sentences.
    """

    name: str
    title: str
    kind: str
    unit: str
    folds: tuple[Fold, ...]
    metric: Metric
    more: tuple[Metric, ...] = ()
    baselines: tuple[tuple[str, Array], ...] = ()
    groups: Mapping[str, Array] = field(default_factory=dict)
    card: tuple[tuple[str, str], ...] = ()
    steps: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    method: Chain = "ltb"
    engine: str = "batched"
    extras: Callable[[Respond, Respond, SpikingNetwork, int], Sequence[Extra]] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """Where a workload finds data and weights.

    Parameters
    ----------
    data_dir : folder to look in first; then ``SPIKEPORT_DATA`` and the user's cache.
    train : train again instead of taking the shipped weights.
    weights : folder into which newly trained networks are written.
    progress : called while training and simulating.
    """

    data_dir: Path | None = None
    train: bool = False
    weights: Path | None = None
    progress: ProgressCallback | None = None

    def network(self, name: str, make: Callable[[], MLP]) -> MLP:
        """Return the shipped network of that name, or train it with ``make`` and round its weights to 16 bits."""
        if not self.train:
            return weights.shipped(name)
        began = time.process_time()
        made = weights.signed(weights.rounded(make()), name, time.process_time() - began)
        if self.weights is not None:
            weights.ship(made, self.weights / f"{name}.npz")
        return made


def supervised(mlp: MLP, data: Dataset, judge: Callable[[Array, Array], Array], calibration: int = 1000, probe: int = 500) -> Fold:
    """Return the fold of a network that answers each test sample once; ``judge`` (y, outputs) gives the facts."""

    def play(respond: Respond) -> Array:
        return judge(data.y_test, respond(data.x_test))

    return Fold(mlp, data.x_train[:: max(1, len(data.x_train) // calibration)], play, data.x_test[:probe])


def resplit(data: Dataset, out: Array, split: str) -> Dataset:
    """Return the same samples, training and test together, split anew with their groups.

    Parameters
    ----------
    out : (n,) bool, the new test samples, in the order training, then test.
    split : how they were chosen, in words.
    """
    pairs = ((data.x_train, data.x_test), (data.y_train, data.y_test), (data.groups_train, data.groups_test))
    x, y, groups = (None if a is None or b is None else np.concatenate([a, b]) for a, b in pairs)
    assert x is not None and y is not None and groups is not None
    return replace(
        data, x_train=x[~out], y_train=y[~out], x_test=x[out], y_test=y[out], groups_train=groups[~out], groups_test=groups[out], split=split
    )


def card_lines(data: Dataset) -> tuple[tuple[str, str], ...]:
    """Return the data card as (name, text) pairs."""
    card = data_card(data)
    duplicates = card["duplicates"]
    classes = ", ".join(f"{c['name']} {c['train']:,}/{c['test']:,}" for c in card["classes"])
    lines = [
        ("Samples", f"{card['n_train']:,} train, {card['n_test']:,} test; each {' x '.join(map(str, card['shape']))}"),
        ("Classes (train/test)", classes),
        ("Always the most frequent class", "" if card["majority_share"] is None else f"{card['majority_share']:.1%} right"),
        *(
            ("Target", f"train {t['train_min']:.4g} to {t['train_max']:.4g} (sd {t['train_std']:.4g}), test {t['test_min']:.4g} to {t['test_max']:.4g}")
            for t in card["targets"][:1]
        ),
        ("Split", card["split"] + ("" if card["seed"] is None else f"; seed {card['seed']}")),
        ("Duplicates", f"{duplicates['train']:,} in training, {duplicates['test']:,} in test"),
        (
            "Leakage",
            f"{duplicates['across']:,} test inputs also stand in training, {duplicates['conflicting']:,} of them with another answer"
            + (f"; {card['inputs']['outside']:,} test samples leave the training range" if card["inputs"]["outside"] else ""),
        ),
        ("Groups", _group_text(card["groups"])),
        ("Inputs", card["scaling"]),
        ("Licence", card["licence"]),
        ("Source", card["source"]),
        ("Files verified", ("yes, by checksum" if card["verified"] else "no") if card["checksum"] else ""),
    ]
    return tuple((name, text) for name, text in lines if text)


def _group_text(groups: Mapping[str, Any] | None) -> str:
    if groups is None:
        return ""
    shared = len(groups["shared"])
    return f"{groups['name']}: {len(groups['train'])} in training, {len(groups['test'])} in test, {shared} in both"


