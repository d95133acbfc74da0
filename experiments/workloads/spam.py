"""Spam detection: SMS messages as bags of words; feed-forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from experiments.datasets import load_dataset
from experiments.datasets.text import TextOptions

from . import measures
from .base import Context, Metric, Task, card_lines, supervised

Array = np.ndarray
WORDS = 1000
F1 = Metric("F1 of spam", lambda f: measures.f1(f[:, 0], f[:, 2]))
MORE = (
    Metric("precision for spam", lambda f: measures.precision(f[:, 0], f[:, 2]), "%"),
    Metric("recall for spam", lambda f: measures.recall(f[:, 0], f[:, 2]), "%"),
    Metric("area under the curve", lambda f: measures.area_under_curve(f[:, 0], f[:, 1])),
    Metric("accuracy", lambda f: float(np.mean(f[:, 0] == f[:, 2])), "%"),
)


def build(context: Context) -> tuple[Task, ...]:
    """Return the SMS Spam Collection. Baseline: naive Bayes on the same words."""
    data = load_dataset("sms_spam", context.data_dir, options=TextOptions(n_features=WORDS), progress=context.progress)

    def fit() -> MLP:
        options = TrainOptions(epochs=20, patience=6, dropout=0.3, input_dropout=0.1, batch_size=64)
        return replace(train((WORDS, 32, 2), data.x_train, data.y_train, options, progress=context.progress), classes=data.classes)

    mlp = context.network("spam", fit)
    known = data.x_test.sum(axis=1)
    task = Task(
        name="spam",
        title="Spam detection, SMS",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)),
        unit="test messages",
        folds=(supervised(mlp, data, judge),),
        metric=F1,
        more=MORE,
        baselines=(("naive Bayes", judge(data.y_test, naive_bayes(data.x_train, data.y_train, data.x_test))),),
        groups={"words in the vocabulary": thirds(known, "words")},
        card=card_lines(data),
    )
    return (task,)


def judge(y: Array, outputs: Array) -> Array:
    """Return facts: label, score (output of spam minus output of ham), answer."""
    return np.stack([y, outputs[:, 1] - outputs[:, 0], outputs.argmax(axis=1)], axis=1).astype(np.float64)


def naive_bayes(x: Array, y: Array, x_test: Array) -> Array:
    """Return log P(class) + sum over present words of log P(word | class), (n, classes); counts smoothed by one.

    Source: multinomial naive Bayes on word presence, Metsis et al. 2006, CEAS.
    """
    classes = np.arange(int(y.max()) + 1)
    counts = np.stack([x[y == c].sum(axis=0, dtype=np.float64) for c in classes]) + 1
    prior = np.log(np.bincount(y) / len(y))
    return np.asarray(x_test @ np.log(counts / counts.sum(axis=1, keepdims=True)).T + prior)


def thirds(values: Array, unit: str) -> Array:
    """Return the name of the third each value falls in: "1: up to 9 words", "2: 10 to 18 words", "3: over 18 words"."""
    low, high = (int(v) for v in np.quantile(values, [1 / 3, 2 / 3]))
    names = (f"1: up to {low} {unit}", f"2: {low + 1} to {high} {unit}", f"3: over {high} {unit}")
    return np.array(names)[np.digitize(values, [low + 0.5, high + 0.5])]
