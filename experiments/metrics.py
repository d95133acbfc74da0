"""Numbers computed from answers: accuracy, agreement, regression errors, calibration of confidence.

Answers are classes, -1 where the network stayed silent; a silent answer is wrong and agrees with no class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .comparison import Curve, Range
from .statistics import wilson, wilson_bounds

Array = np.ndarray


@dataclass(frozen=True)
class Metric:
    """One number of a row: meaning, unit, task, and its function of (labels, outputs, answers, answers of the ANN)."""

    name: str
    meaning: str
    unit: str
    task: str
    function: Callable[[Array, Array, Array, Array | None], float]


def accuracy(labels: Array, answers: Array) -> Range:
    """Return the share of right answers with its Wilson 95 % interval."""
    return wilson(int(np.sum(answers == labels)), len(labels))


def disagreement(ann: Array, answers: Array) -> Range:
    """Return the share of answers that differ from the ANN's, with its Wilson 95 % interval."""
    return wilson(int(np.sum(answers != ann)), len(ann))


def r2(targets: Array, outputs: Array) -> float:
    """Return the coefficient of determination, 1 - sum (y - f)^2 / sum (y - mean y)^2, over all outputs together."""
    targets, outputs = _columns(targets), _columns(outputs)
    spread = float(np.sum((targets - targets.mean(axis=0)) ** 2))
    return float("nan") if spread == 0 else 1.0 - float(np.sum((targets - outputs) ** 2)) / spread


def rmse(targets: Array, outputs: Array) -> float:
    """Return the root mean square error, in the units of the target."""
    return float(np.sqrt(np.mean((_columns(targets) - _columns(outputs)) ** 2)))


def confusion(labels: Array, answers: Array, n_classes: int) -> tuple[Array, Array]:
    """Return the (classes, classes) counts, rows the label, and the (classes,) counts of silent answers."""
    labels, answers = np.asarray(labels, dtype=np.int64), np.asarray(answers, dtype=np.int64)
    spoken = answers >= 0
    table = np.bincount(labels[spoken] * n_classes + answers[spoken], minlength=n_classes * n_classes)
    return table.reshape(n_classes, n_classes), np.bincount(labels[~spoken], minlength=n_classes)


def per_class(labels: Array, answers: Array, n_classes: int) -> Array:
    """Return the (classes, 3) accuracy of each class with its Wilson 95 % interval; NaN where a class has no sample."""
    rows = np.full((n_classes, 3), np.nan)
    for c in range(n_classes):
        of_class = labels == c
        if of_class.any():
            found = wilson(int(np.sum(answers[of_class] == c)), int(of_class.sum()))
            rows[c] = found.value, found.low, found.high
    return rows


def accuracy_curve(labels: Array, ann: Array, predictions_at: Array, extra_steps: int) -> Curve:
    """Return accuracy and disagreement after every step of the window.

    predictions_at : (T, n) int, row k the answers after k + 1 steps.
    """
    right = np.sum(predictions_at == labels, axis=1)
    value, low, high = wilson_bounds(right, len(labels))
    steps = np.arange(1, len(predictions_at) + 1)
    return Curve(steps, value, low, high, np.mean(predictions_at != ann, axis=1), extra_steps)


def margins(outputs: Array) -> Array:
    """Return the largest minus the second largest output of each sample, (n,) float32."""
    top = np.partition(np.asarray(outputs), -2, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]).astype(np.float32)


def calibration_error(labels: Array, outputs: Array, answers: Array, bins: int = 15) -> float:
    """Return the expected calibration error of the softmax confidence.

    sum over bins b of (n_b / n) |accuracy_b - confidence_b|

    Source: Guo et al. 2017, ICML, arXiv:1706.04599, equation 3 (bins of equal width).
    """
    logits = np.asarray(outputs, dtype=np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = p.max(axis=1) / p.sum(axis=1)
    right = (answers == labels).astype(np.float64)
    where = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(where, right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def _columns(values: Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "accuracy",
        "share of test samples answered right",
        "1",
        "classification",
        lambda y, o, a, n: accuracy(y, a).value,
    ),
    "disagreement": Metric(
        "disagreement",
        "share of answers that differ from the source network's",
        "1",
        "classification",
        lambda y, o, a, n: disagreement(n, a).value if n is not None else 0.0,
    ),
    "balanced_accuracy": Metric(
        "balanced_accuracy",
        "mean over the classes of the share answered right",
        "1",
        "classification",
        lambda y, o, a, n: float(np.nanmean(per_class(y, a, int(y.max()) + 1)[:, 0])),
    ),
    "calibration_error": Metric(
        "calibration_error",
        "expected calibration error of the softmax confidence, 15 bins",
        "1",
        "classification",
        lambda y, o, a, n: calibration_error(y, o, a),
    ),
    "r2": Metric("r2", "coefficient of determination", "1", "regression", lambda y, o, a, n: r2(y, o)),
    "rmse": Metric("rmse", "root mean square error", "unit of the target", "regression", lambda y, o, a, n: rmse(y, o)),
}
