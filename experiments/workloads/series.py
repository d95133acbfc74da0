"""Time series: who will change room, from four radio signals; next month's sunspots. Recurrent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from experiments.datasets import Dataset, load_dataset
from experiments.datasets.fetch import members
from experiments.datasets.text import decode
from experiments.datasets.timeseries import MovementOptions, SeriesOptions

from . import measures
from .base import Context, Metric, Task, card_lines, resplit, supervised
from .measures import ACCURACY, right, squared
from .noisy import how, in_noise

Array = np.ndarray
FOLDS = 4
MONTHS = 24
# Thresholds of ltb clip the states of the sunspots' network, and what is clipped once is carried on.
WIDE = {"name": "percentile_norm", "percentile": 99.9}
MOVEMENT = TrainOptions(
    epochs=100, patience=0, batch_size=16, learning_rate=2e-3, learning_rate_decay=0.99, clip_norm=1.0, recurrent_scale=0.9, validation=0.15, levels=16
)
RMSE = Metric("RMS error", measures.root_mean, "sunspots", "lower")


def build(context: Context) -> tuple[Task, ...]:
    """Return room changes, baselines linear in the signals, and sunspots, baselines last value and linear autoregression."""
    return _movement(context), _sunspots(context)


def least_squares(x: Array, y: Array, x_test: Array, ridge: float = 1e-3) -> Array:
    """Return the predictions of a linear model with intercept, fitted by least squares; y (n, k)."""
    a = np.c_[np.ones(len(x)), x.reshape(len(x), -1)].astype(np.float64)
    b = np.c_[np.ones(len(x_test)), x_test.reshape(len(x_test), -1)].astype(np.float64)
    return np.asarray(b @ np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ y))


def parts(labels: Array, n: int, seed: int) -> Array:
    """Return the fold of each sample, 0 to n - 1, every class spread evenly."""
    order = np.argsort(np.random.Generator(np.random.Philox(seed)).random(len(labels)), kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % n
    return fold


# -- who changes room -------------------------------------------------------------------------------


def _movement(context: Context) -> Task:
    data = load_dataset("indoor_movement", context.data_dir, options=MovementOptions(split="environment"), progress=context.progress)
    assert data.groups_train is not None and data.groups_test is not None
    y = np.concatenate([data.y_train, data.y_test])
    rooms = np.concatenate([data.groups_train, data.groups_test])
    of = parts(y, FOLDS, 0)
    folds, linear, last, seen = [], [], [], []
    for k in range(FOLDS):
        out = of == k
        split = resplit(data, out, f"cross-validation in {FOLDS} parts drawn at random, the same share of every class in each")
        mlp = context.network(f"series-movement-{k}", lambda split=split: _fit_movement(context, split))  # type: ignore[misc]
        folds.append(supervised(mlp, split, right))
        one_hot = np.eye(2)[split.y_train]
        linear.append(right(split.y_test, least_squares(split.x_train, one_hot, split.x_test)))
        last.append(right(split.y_test, least_squares(split.x_train[:, -1], one_hot, split.x_test[:, -1])))
        seen.append(np.flatnonzero(out))
        shown = split
    order = np.concatenate(seen)
    return Task(
        name="series/movement",
        title="Time series, who changes room",
        kind="recurrent " + "-".join(map(str, folds[0].mlp.sizes)) + f", {data.x_train.shape[1]} measurements, {FOLDS} networks",
        unit="sequences",
        folds=tuple(folds),
        metric=ACCURACY,
        baselines=(("linear in the last measurement", np.concatenate(last)), ("linear in all measurements", np.concatenate(linear))),
        groups={"path": _paths(data)[order], "pair of rooms": rooms[order]},
        card=(*card_lines(shown), ("Card of", f"the last of the {FOLDS} parts")),
        method="max_norm",
        steps=(4, 8, 16, 32, 64),
        notes=(
            "314 sequences are few: read the interval before the figure.",
            how(MOVEMENT),
        ),
    )


def _paths(data: Dataset) -> Array:
    """Return the path walked in every sequence, in the order of training then test samples of the split by rooms."""
    (path,) = data.info["files"].values()
    tables = {name.rsplit("/", 1)[-1]: body for name, body in members(Path(path).read_bytes(), ".csv").items()}

    def column(name: str) -> Array:
        lines = [line.split(",") for line in decode(tables[name]).splitlines() if line.strip() and not line.startswith("#")]
        return np.array([int(float(value)) for _, value in sorted((int(a), b) for a, b in lines)])

    walked, rooms = column("MovementAAL_Paths.csv"), column("MovementAAL_DatasetGroup.csv")
    order = np.concatenate([np.flatnonzero(rooms != 3), np.flatnonzero(rooms == 3)])
    return np.array([f"path {k}" for k in walked])[order]


def _fit_movement(context: Context, data: Dataset) -> MLP:
    mlp = in_noise((data.n_in, 24, 2), data.x_train, data.y_train, MOVEMENT, context.progress)
    return replace(mlp, classes=data.classes)


# -- sunspots ---------------------------------------------------------------------------------------


def _sunspots(context: Context) -> Task:
    data = load_dataset("sunspots", context.data_dir, options=SeriesOptions(n_seq=MONTHS), progress=context.progress)

    def fit() -> MLP:
        options = TrainOptions(
            epochs=120, patience=30, batch_size=32, learning_rate=3e-3, clip_norm=1.0, recurrent_scale=0.5
        )
        return train((1, 24, 1), data.x_train, data.y_train, options, progress=context.progress)

    mlp = context.network("series-sunspots", fit)
    largest = float(data.info["scaling"].split()[2].rstrip(","))
    last = data.x_test[:, -1] * largest
    return Task(
        name="series/sunspots",
        title="Time series, next month's sunspots",
        kind="recurrent " + "-".join(map(str, mlp.sizes)) + f", {MONTHS} months",
        unit="test months",
        folds=(supervised(mlp, data, squared),),
        metric=RMSE,
        baselines=(
            (f"linear autoregression, {MONTHS} months", squared(data.y_test, least_squares(data.x_train, data.y_train, data.x_test))),
            ("last value", squared(data.y_test, last)),
        ),
        groups={"last month": _activity(last[:, 0])},
        card=card_lines(data),
        method=WIDE,
        steps=(16, 64, 256),
        notes=("Errors of neighbouring months are alike; the bootstrap over months makes the interval narrower than it should be.",),
    )


def _activity(value: Array) -> Array:
    low, high = np.quantile(value, [1 / 3, 2 / 3])
    names = np.array([f"1: up to {low:.0f} spots", f"2: to {high:.0f} spots", f"3: over {high:.0f} spots"])
    return names[np.digitize(value, [low, high], right=True)]
