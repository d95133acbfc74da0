"""Metrics of the workloads and their intervals."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from experiments.comparison import Range
from experiments.statistics import paired_bootstrap, wilson

from .base import Metric

Array = np.ndarray
RESAMPLES = 1000


def mean(facts: Array) -> float:
    """Return the mean of column 0."""
    return float(facts[:, 0].mean())


def root_mean(facts: Array) -> float:
    """Return the square root of the mean of column 0, which holds squared errors."""
    return float(np.sqrt(facts[:, 0].mean()))


ACCURACY = Metric("accuracy", mean, "%", share=True)


def right(y: Array, outputs: Array) -> Array:
    """Return facts of a classification: column 0 is 1 where the largest output is the label; then label and answer."""
    answers = outputs.argmax(axis=1)
    return np.stack([answers == y, y, answers], axis=1).astype(np.float64)


def squared(y: Array, outputs: Array) -> Array:
    """Return facts of a regression of one value: squared error, target, answer."""
    return np.stack([(outputs[:, 0] - y[:, 0]) ** 2, y[:, 0], outputs[:, 0]], axis=1).astype(np.float64)


def interval(metric: Metric, facts: Array, seed: int = 0) -> Range:
    """Return the metric with its 95 % interval: Wilson's for a share, else the percentile bootstrap over the units."""
    value = metric.value(facts)
    if metric.share:
        return wilson(int(round(facts[:, 0].sum())), len(facts))
    rng = np.random.default_rng(seed)
    drawn = [metric.value(facts[rng.integers(0, len(facts), len(facts))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Range(value, min(float(low), value), max(float(high), value))


def difference(metric: Metric, first: Array, second: Array, seed: int = 0) -> Range:
    """Return metric(second) - metric(first) with the interval of the paired bootstrap over the units."""
    if metric.share:
        return paired_bootstrap(first[:, 0], second[:, 0], seed)
    value = metric.value(second) - metric.value(first)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(first), len(first))
        drawn.append(metric.value(second[rows]) - metric.value(first[rows]))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Range(value, min(float(low), value), max(float(high), value))


def area_under_curve(labels: Array, scores: Array) -> float:
    """Return the area under the receiver's curve: P[score of a positive > score of a negative], ties counting half.

    U / (n_pos n_neg), U the Mann-Whitney statistic.

    Source: Hanley and McNeil 1982, Radiology 143:29, doi:10.1148/radiology.143.1.7063747.
    """
    positive = labels > 0
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def precision(labels: Array, answers: Array) -> float:
    """Return the share of positive answers that are right; NaN without a positive answer."""
    said = answers > 0
    return float((labels[said] > 0).mean()) if said.any() else float("nan")


def recall(labels: Array, answers: Array) -> float:
    """Return the share of positives that were found; NaN without a positive."""
    there = labels > 0
    return float((answers[there] > 0).mean()) if there.any() else float("nan")


def f1(labels: Array, answers: Array) -> float:
    """Return the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); NaN where nothing is positive."""
    hits = np.sum((labels > 0) & (answers > 0))
    total = np.sum(labels > 0) + np.sum(answers > 0)
    return float(2 * hits / total) if total else float("nan")


def edit_distance(a: list[str], b: list[str]) -> int:
    """Return the fewest insertions, deletions and replacements of tokens that turn a into b.

    Source: Levenshtein 1966, Soviet Physics Doklady 10:707.
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
