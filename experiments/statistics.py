"""Statistics of a comparison: intervals, paired tests, correction for many comparisons, Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from .comparison import Range

Array = np.ndarray
LEVEL = 0.95


def wilson_bounds(right: Any, n: int, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Return share and the bounds of its Wilson score interval, for one count or an array of counts.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z the normal quantile of ``level``.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209, doi:10.1080/01621459.1927.10502953.
    """
    right = np.asarray(right, dtype=np.float64)
    if n <= 0:
        return np.full(right.shape, np.nan), np.zeros(right.shape), np.ones(right.shape)
    z = stats.norm.ppf(0.5 + level / 2)
    p = right / n
    middle = p + z * z / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = np.clip((middle - half) / scale, 0, 1), np.clip((middle + half) / scale, 0, 1)
    # The bounds contain p; rounding must not put p = 0 or 1 outside by 1e-17.
    return p, np.minimum(p, low), np.maximum(p, high)


def wilson(right: int, n: int, level: float = LEVEL) -> Range:
    """Return the share ``right / n`` with its Wilson score interval; see :func:`wilson_bounds`."""
    p, low, high = wilson_bounds(right, n, level)
    return Range(float(p), float(low), float(high))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of McNemar's exact test: min(1, 2 P[X <= min(a, b)]), X ~ Binomial(a + b, 1/2).

    ``only_a``, ``only_b`` : samples that only one of the two classified right. No such sample gives 1.

    Source: McNemar 1947, Psychometrika 12:153, doi:10.1007/BF02295996 (exact conditional form).
    """
    n = only_a + only_b
    return 1.0 if n == 0 else min(1.0, 2.0 * float(stats.binom.cdf(min(only_a, only_b), n, 0.5)))


def paired_bootstrap(a: Array, b: Array, seed: int = 0, resamples: int = 10_000, level: float = LEVEL) -> Range:
    """Return mean(b - a) with the percentile interval of the paired bootstrap.

    a, b : (n,) values of the same samples (right or wrong, squared errors, ...). Samples are drawn in pairs. Only the
    values of b - a matter, so a resample is one multinomial draw over its distinct values: exact, and quick.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13.
    """
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    n = len(difference)
    if n == 0:
        return Range(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    values, counts = np.unique(difference, return_counts=True)
    if len(values) <= 64:
        means = rng.multinomial(n, counts / n, size=resamples) @ values / n
    else:
        means = np.array([difference[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Range(float(difference.mean()), float(low), float(high))


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Range:
    """Return the mean of a few independent values (seeds) with Student's t interval; of one value, the value alone.

    mean -+ t_{n-1} s / sqrt(n), s with n - 1.
    """
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Range(mean, mean, mean)
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Range(mean, mean - half, mean + half)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's corrected p values, in the order given: running maximum of (m - rank) p, at most 1.

    Source: Holm 1979, Scand. J. Stat. 6:65.
    """
    found = np.asarray(p, dtype=np.float64)
    if not len(found):
        return []
    order = np.argsort(found, kind="stable")
    corrected = np.empty(len(found))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate((len(found) - np.arange(len(found))) * found[order]))
    return [float(value) for value in corrected]


def pareto(costs: Array) -> Array:
    """Return (n,) bool, the points that no other point beats.

    costs : (n, k); smaller is better in every column. A point beats another when it is nowhere worse and once better.
    """
    costs = np.asarray(costs, dtype=np.float64)
    front = np.ones(len(costs), dtype=bool)
    for i, point in enumerate(costs):
        front[i] = not np.any(np.all(costs <= point, axis=1) & np.any(costs < point, axis=1))
    return front
