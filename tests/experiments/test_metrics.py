"""Intervals, tests and metrics against closed forms, other implementations and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments import metrics
from experiments.statistics import holm, mcnemar, mean_interval, paired_bootstrap, pareto, wilson, wilson_bounds


@given(st.integers(1, 5000), st.data())
def test_wilson_agrees_with_scipy(n, data):
    k = data.draw(st.integers(0, n))
    ours = wilson(k, n)
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_wilson_of_arrays_is_that_of_each_count():
    p, low, high = wilson_bounds([0, 3, 10], 10)
    assert [(a, b, c) for a, b, c in zip(p, low, high, strict=True)] == [
        (r.value, r.low, r.high) for r in (wilson(0, 10), wilson(3, 10), wilson(10, 10))
    ]


def test_wilson_of_nothing_knows_nothing():
    empty = wilson(0, 0)
    assert np.isnan(empty.value) and (empty.low, empty.high) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(a, b):
    expected = 1.0 if a + b == 0 else stats.binomtest(a, a + b).pvalue
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)


def test_paired_bootstrap_matches_the_normal_interval_of_the_difference():
    rng = np.random.default_rng(1)
    a, b = rng.random(4000) < 0.9, rng.random(4000) < 0.92
    found = paired_bootstrap(a, b)
    d = b.astype(float) - a
    half = 1.96 * d.std() / np.sqrt(len(d))
    assert found.value == pytest.approx(d.mean())
    assert found.low == pytest.approx(d.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(d.mean() + half, abs=0.1 * half)


def test_paired_bootstrap_of_many_values_agrees_with_its_multinomial_form():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=300), rng.normal(0.3, 1, size=300)
    found = paired_bootstrap(a, b, resamples=4000)  # 300 distinct values: indices are drawn
    half = 1.96 * (b - a).std() / np.sqrt(300)
    assert found.value == pytest.approx((b - a).mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_paired_bootstrap_of_equal_answers_is_zero_and_repeats_with_its_seed():
    a = np.arange(10) % 2 == 0
    assert paired_bootstrap(a, a) == paired_bootstrap(a, a, seed=5)
    assert paired_bootstrap(a, a).high == 0.0
    b = ~a
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)


def test_mean_interval_is_students():
    x = [0.1, 0.3, 0.2, 0.6, 0.4]
    low, high = stats.t.interval(0.95, 4, np.mean(x), stats.sem(x))
    found = mean_interval(x)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(x), low, high))
    one = mean_interval([0.7])
    assert (one.value, one.low, one.high) == (0.7, 0.7, 0.7)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04, and the last may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_the_raw_and_bonferronis(p):
    corrected = holm(p)
    assert all(a <= b + 1e-12 and b <= min(1.0, len(p) * a) + 1e-12 for a, b in zip(p, corrected, strict=True))


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=25))
def test_pareto_against_brute_force(points):
    costs = np.array(points)
    expected = [
        not any(all(q <= p for q, p in zip(b, a, strict=True)) and b != a for b in points) for a in points
    ]
    assert pareto(costs).tolist() == expected


def test_accuracy_counts_silence_as_wrong_and_as_disagreement():
    labels, answers = np.array([0, 1, 2, 1]), np.array([0, 1, -1, 0])
    assert metrics.accuracy(labels, answers).value == 0.5
    assert metrics.disagreement(np.array([0, 1, 2, 0]), answers).value == 0.25


def test_confusion_adds_up():
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 5, 200), rng.integers(-1, 5, 200)
    table, silent = metrics.confusion(labels, answers, 5)
    assert table.sum() + silent.sum() == 200
    assert np.array_equal(table.sum(axis=1) + silent, np.bincount(labels, minlength=5))
    assert np.trace(table) / 200 == metrics.accuracy(labels, answers).value


def test_per_class_is_wilson_within_the_class_and_nan_without_samples():
    labels, answers = np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2])
    table = metrics.per_class(labels, answers, 3)
    assert table[0].tolist() == [wilson(2, 3).value, wilson(2, 3).low, wilson(2, 3).high]
    assert np.isnan(table[1]).all() and table[2, 0] == 1.0


def test_curve_is_the_accuracy_of_every_row():
    rng = np.random.default_rng(3)
    labels, ann = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    answers = rng.integers(-1, 3, (4, 50))
    curve = metrics.accuracy_curve(labels, ann, answers, 2)
    assert curve.steps.tolist() == [1, 2, 3, 4] and curve.extra_steps == 2
    for k in range(4):
        assert curve.value[k] == metrics.accuracy(labels, answers[k]).value
        assert curve.high[k] == metrics.accuracy(labels, answers[k]).high
        assert curve.disagreement[k] == metrics.disagreement(ann, answers[k]).value


def test_regression_metrics():
    y = np.array([[1.0], [2.0], [3.0]])
    assert metrics.r2(y, y) == 1.0 and metrics.rmse(y, y) == 0.0
    assert metrics.r2(y, np.full((3, 1), 2.0)) == 0.0
    assert metrics.rmse(y[:, 0], y + 2) == pytest.approx(2.0)


def test_calibration_error_of_a_coin():
    # Two equal outputs: confidence 1/2. Right always: gap 1/2. Right half the time: no gap.
    outputs = np.zeros((4, 2))
    assert metrics.calibration_error(np.zeros(4, int), outputs, np.zeros(4, int)) == pytest.approx(0.5)
    assert metrics.calibration_error(np.array([0, 1, 0, 1]), outputs, np.zeros(4, int)) == pytest.approx(0.0)


def test_margins():
    assert metrics.margins(np.array([[1.0, 5.0, 3.0], [2.0, 2.0, 0.0]])).tolist() == [2.0, 0.0]


def test_every_metric_of_the_table_gives_a_number():
    rng = np.random.default_rng(0)
    y, outputs = rng.integers(0, 3, 30), rng.normal(size=(30, 3))
    answers = outputs.argmax(axis=1)
    for metric in metrics.METRICS.values():
        labels = outputs + 0.1 if metric.task == "regression" else y
        assert np.isfinite(metric.function(labels, outputs, answers, answers))
