"""Speech recognition: spoken digits as log-mel features; feed-forward and frame by frame; known and new speakers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from experiments.datasets import Dataset, load_dataset
from experiments.datasets.spoken_digits import SpokenDigitsOptions

from .base import Context, Task, card_lines, resplit, supervised
from .measures import ACCURACY, right
from .noisy import how, in_noise

Array = np.ndarray
HIDDEN = (64, 64)
OPTIONS = TrainOptions(epochs=50, patience=10, dropout=0.2, batch_size=64)
SHORTER = TrainOptions(epochs=25, patience=8, dropout=0.2, batch_size=64)  # six trainings
RECURRENT_OPTIONS = TrainOptions(epochs=40, patience=12, batch_size=64, learning_rate=2e-3, recurrent_scale=0.9, clip_norm=1.0, levels=16)


def build(context: Context) -> tuple[Task, ...]:
    """Return the official split, feed-forward and recurrent, and leave-one-speaker-out. Baseline: nearest class mean."""
    data = load_dataset("spoken_digits", context.data_dir, options=SpokenDigitsOptions(), progress=context.progress)
    official = _official(context, data)
    return official, _recurrent(context, official, as_sequences(data)), _speakers(context, data)


def recogniser(context: Context, data: Dataset) -> MLP:
    """Return the feed-forward recogniser of the official split, which the speech synthesis is judged by."""
    return context.network("speech-official", lambda: _fit(context, data))


def as_sequences(data: Dataset) -> Dataset:
    """Return the data with samples of (n_frames, n_bands)."""
    return replace(data, x_train=data.x_train.reshape(-1, *data.input_shape), x_test=data.x_test.reshape(-1, *data.input_shape))


def nearest_mean(x: Array, y: Array, x_test: Array, n_classes: int = 10) -> Array:
    """Return minus the squared distance of every test sample from the mean of each class, (n, classes)."""
    x, x_test = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1)
    means = np.stack([x[y == c].mean(axis=0) for c in range(n_classes)])
    return np.stack([-((x_test - mean) ** 2).sum(axis=1) for mean in means], axis=1)


def _fit(context: Context, data: Dataset, options: TrainOptions = OPTIONS) -> MLP:
    mlp = train((data.n_in, *HIDDEN, data.n_out), data.x_train, data.y_train, options, progress=context.progress)
    return replace(mlp, classes=data.classes)


def _official(context: Context, data: Dataset) -> Task:
    mlp = recogniser(context, data)
    assert data.groups_test is not None
    return Task(
        name="speech/official",
        title="Speech, official split",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)),
        unit="test recordings",
        folds=(supervised(mlp, data, right),),
        metric=ACCURACY,
        baselines=(("nearest class mean", right(data.y_test, nearest_mean(data.x_train, data.y_train, data.x_test))),),
        groups={"speaker": data.groups_test, "digit": np.array(data.classes)[data.y_test]},
        card=card_lines(data),
        notes=("All six speakers are in training: this tells how well known voices are understood, not new ones.",),
    )


def _recurrent(context: Context, official: Task, data: Dataset) -> Task:
    """Return the same recordings, baseline and groups, heard frame by frame."""

    def fit() -> MLP:
        mlp = in_noise((data.n_in, 64, data.n_out), data.x_train, data.y_train, RECURRENT_OPTIONS, context.progress)
        return replace(mlp, classes=data.classes)

    mlp = context.network("speech-recurrent", fit)
    return replace(
        official,
        name="speech/recurrent",
        title="Speech, frame by frame",
        kind="recurrent " + "-".join(map(str, mlp.sizes)) + ", 16 frames",
        folds=(supervised(mlp, data, right),),
        card=card_lines(data),
        method="max_norm",
        steps=(4, 8, 16, 32, 64),
        notes=(how(RECURRENT_OPTIONS),),
    )


def _speakers(context: Context, data: Dataset) -> Task:
    assert data.groups_train is not None and data.groups_test is not None
    speakers = np.concatenate([data.groups_train, data.groups_test])
    folds, base, heard = [], [], []
    for name in sorted(set(speakers.tolist())):
        out = speakers == name
        split = resplit(data, out, "by speaker: each of the six in turn is the test, and is not heard in training")
        mlp = context.network(f"speech-without-{name}", lambda split=split: _fit(context, split, SHORTER))  # type: ignore[misc]
        folds.append(supervised(mlp, split, right))
        base.append(right(split.y_test, nearest_mean(split.x_train, split.y_train, split.x_test)))
        heard.append(speakers[out])
        last = split
    return Task(
        name="speech/speakers",
        title="Speech, a new speaker",
        kind="feed-forward " + "-".join(map(str, folds[0].mlp.sizes)) + ", 6 networks",
        unit="recordings",
        folds=tuple(folds),
        metric=ACCURACY,
        baselines=(("nearest class mean", np.concatenate(base)),),
        groups={"speaker": np.concatenate(heard)},
        card=(*card_lines(last), ("Card of", "the last of the six splits")),
        steps=(4, 8, 16, 32),
        notes=("Six speakers are few: recordings of one speaker are alike, and the interval over recordings is narrower than one over speakers would be.",),
    )
