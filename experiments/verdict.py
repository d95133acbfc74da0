"""The one sentence of a comparison, with its uncertainty, and the row it is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from .comparison import Conventional, PairTest, Range, Row, SeedSummary
from .designs import STANDING, against, dynamic, of_ann, short
from .statistics import holm
from .units import si, si_range, significant

REAL = 0.05
MARGIN = 0.01  # of accuracy
ENERGY = {
    "more": "takes more energy than its source on digital hardware",
    "less": "takes less energy than its source on digital hardware",
    "either": "may take more or less energy than its source on digital hardware",
}


def headline(rows: Sequence[Row]) -> str:
    """Return the key of the row that the verdict is about; "" when no spiking network ran.

    A chip's before ideal arithmetic; of several chips the first of the config, because their energies leave out different
    things and cannot be ranked. Of several runs, the one of least energy (ideal: fewest synaptic operations) among those
    that lose at most ``MARGIN`` with 95 % confidence; where none is sure to, the one that loses least. That a loss cannot
    be told from chance is no reason to choose a row: with few samples hardly any can.
    """
    for group in ("chip", "native", "ideal"):
        candidates = [row for row in rows if row.group == group]
        if candidates:
            break
    else:
        return ""
    candidates = [row for row in candidates if _chip(row) == _chip(candidates[0])]
    close = [row for row in candidates if _close(row)]
    if close:
        return min(close, key=_cost).key
    return min(candidates, key=lambda row: (row.loss.value if row.loss else 0.0, -(row.r2 or 0.0), _cost(row))).key


def _chip(row: Row) -> str:
    return str(row.settings.get("deploy.chip", ""))


def _close(row: Row) -> bool:
    return row.loss is not None and row.loss.high <= MARGIN


def verdict(
    rows: Sequence[Row], key: str, tests: Sequence[PairTest], summaries: Sequence[SeedSummary], conventional: Sequence[Conventional] = ()
) -> str:
    """Return one sentence: whether accuracy is kept and energy saved, then the numbers, and whether the data can tell."""
    by_key = {row.key: row for row in rows}
    if key not in by_key:
        return "No spiking network was run."
    row = by_key[key]
    ann = by_key[row.ann]
    summary = next(s for s in summaries if key in s.rows)
    many = sum(r.group == row.group and _chip(r) == _chip(row) for r in rows)
    why = "the cheapest that loses at most 1 point with 95 % confidence" if _close(row) else "the one that loses least"
    if _close(row) and summary.n_seeds > 1 and (summary.loss is None or summary.loss.high > MARGIN):
        # One trained network was sure enough, the method over all of them is not: both are told.
        why = "the cheapest that with one of the seeds loses at most 1 point with 95 % confidence"
    of_many = f" (of {many} such runs {why}, chosen on these samples)" if many > summary.n_seeds else ""
    digital = next(iter(of_ann(conventional, row.ann)), None) if row.energy is not None else None
    where, cost = f"{_where(row)} the network{of_many}", _costs(row, digital)
    spent = "" if digital is None else _spent(row, digital)
    if row.accuracy is None or ann.accuracy is None:
        answer = _fit(row, ann, spent)
        return f"{where} {answer}: it predicts the {row.n:,} test samples with R² = {row.r2 or 0:.3f}, its source with {ann.r2 or 0:.3f}{cost}."
    if summary.n_seeds > 1 and summary.accuracy is not None and summary.loss is not None:
        p = seeds_p(summaries, summary, rows)
        answer = _answer(summary.loss, p < REAL, f"{summary.n_seeds} seeds", spent)
        right = f"{_points(summary.accuracy, row.n)} of {row.n:,} test samples right (mean over {summary.n_seeds} seeds, {_interval(summary.accuracy, row.n)})"
        name = f"(t test over seeds, Holm-corrected p = {_p(p)})"
        told = f"a real difference {name}" if p < REAL else f"which {summary.n_seeds} seeds cannot tell from none {name}"
        return f"{where} {answer}: it answers {right}, {_loss(summary.loss)}, {told}{cost}."
    test = next((t for t in tests if t.a == row.ann and t.b == row.key), None)
    text = f"answers {_points(row.accuracy, row.n)} of {row.n:,} test samples right ({_interval(row.accuracy, row.n)})"
    if test is None or row.loss is None:
        return f"{where} {text}, its source {_points(ann.accuracy, ann.n)}{cost}."
    text = f"{where} {_answer(row.loss, test.real, f'{row.n:,} samples', spent)}: it {text}"
    if test.only_a == test.only_b == 0:
        return f"{text}, exactly those that its source answers right{cost}."
    name = f"(exact McNemar test, Holm-corrected p = {_p(test.p_holm)})"
    told = f"a real difference {name}" if test.real else f"a difference that {row.n:,} samples cannot tell from chance {name}"
    return f"{text}, {_loss(row.loss)}, {told}{cost}."


def _spent(row: Row, digital: Conventional) -> str:
    """Return whether a row takes more energy than its source on digital hardware; a sum that lacks figures proves no saving."""
    told = against(dynamic(row), digital.energy)
    return ENERGY[told] + (", as far as figures are published" if told == "less" and row.energy and row.energy.missing else "")


def fit_is_kept(row: Row, ann: Row) -> bool:
    """Whether a regression explains as much of the spread as its source but for ``MARGIN``, on these samples."""
    return (ann.r2 or 0.0) - (row.r2 or 0.0) <= MARGIN


def _fit(row: Row, ann: Row, spent: str) -> str:
    """Return whether a regression fits as well as its source and, where it is known, energy saved."""
    kept = fit_is_kept(row, ann)
    fit = "fits as well as its source" if kept else "fits worse than its source"
    saves = "less energy" in spent and "more or" not in spent
    return f"{fit} {'and' if kept == saves else 'but'} {spent}" if spent else fit


def _answer(loss: Range, real: bool, judges: str, spent: str) -> str:
    """Return whether accuracy is kept and, where it is known, energy saved: the answer before the numbers."""
    kept = loss.high <= MARGIN
    if kept:
        accuracy = "keeps its accuracy within a point"
    elif real:
        accuracy = "loses accuracy" if loss.value > 0 else "gains accuracy"
    else:
        accuracy = f"may lose more than a point of accuracy, which {judges} cannot tell,"
    if not spent:
        return accuracy.rstrip(",")
    good = kept or (real and loss.value < 0)
    saves = "less energy" in spent and "more or" not in spent
    return f"{accuracy} {'and' if good == saves else 'but'} {spent}"


def seeds_p(summaries: Sequence[SeedSummary], wanted: SeedSummary, rows: Sequence[Row]) -> float:
    """Return the Holm-corrected p of a one-sample t test of the losses over seeds, corrected over all summaries with
    seeds."""
    by_key = {row.key: row for row in rows}
    tested = [s for s in summaries if s.n_seeds > 1 and s.loss is not None]
    p = []
    for s in tested:
        losses = np.array([by_key[k].loss.value for k in s.rows])  # type: ignore[union-attr]
        same = np.ptp(losses) == 0
        p.append((1.0 if losses[0] == 0 else 0.0) if same else float(stats.ttest_1samp(losses, 0.0).pvalue))
    return holm(p)[tested.index(wanted)]


def _cost(row: Row) -> float:
    if row.energy is not None:
        return row.energy.total.value
    return row.synaptic_operations if row.synaptic_operations is not None else np.inf


def _where(row: Row) -> str:
    if row.group == "ideal":
        return f"In ideal arithmetic with T = {row.n_steps}"
    reset = " and native reset" if row.group == "native" else ""
    return f"On {row.settings.get('deploy.chip', 'the chip')} with T = {row.n_steps}{reset}"


def _points(share: Range, n: int) -> str:
    return f"{100 * share.value:.{_digits(n)}f} %"


def _interval(share: Range, n: int) -> str:
    return f"95 % interval {100 * share.low:.{_digits(n)}f} to {100 * share.high:.{_digits(n)}f}"


def _digits(n: int) -> int:
    """Return the digits of a percentage that n samples can fill."""
    return 1 if n < 1000 else 2


def _loss(loss: Range) -> str:
    interval = f"95 % interval of the loss {_signed(loss.low)} to {_signed(loss.high)} points"
    if loss.value == 0:
        return f"as many as its source ({interval})"
    return f"{100 * abs(loss.value):.2f} points {'fewer' if loss.value > 0 else 'more'} than its source ({interval})"


def _signed(share: float) -> str:
    text = f"{100 * share:.2f}"
    return "0" if float(text) == 0 else text


def _costs(row: Row, digital: Conventional | None) -> str:
    parts = []
    if row.energy is not None:
        e = row.energy.total
        parts.append(si_range(e.value, e.low, e.high, "J"))
    if row.latency is not None and row.latency.per_inference is not None:
        parts.append(si(row.latency.per_inference.value, "s"))
    missing = (row.energy is not None and row.energy.missing) or (row.latency is not None and row.latency.missing)
    without = ", without what has no published figure" if missing else ""
    return f"; an inference takes an estimated {' and '.join(parts)}{without}{_ratio(row, digital)}" if parts else ""


def _ratio(row: Row, digital: Conventional | None) -> str:
    """Return how often the energy of the ANN's fairest digital design goes into the chip's, inside the same boundary."""
    ours = dynamic(row)
    if digital is None or min(ours.low, digital.energy.low) <= 0:
        return ""
    rival = digital.energy
    ratios = (ours.low / rival.high, ours.value / rival.value, ours.high / rival.low)
    share = ratios[1] < 1
    low, value, high = (significant(100 * r if share else r, 2) for r in ratios)
    spread = "" if low == value == high else f" ({low}-{high})"
    static = "without static power " if any(name in STANDING for name in row.energy.by_component) else ""  # type: ignore[union-attr]
    times = f"{value} %{spread} of" if share else f"{value} times{spread}"
    return f", and {static}{times} the {si(rival.value, 'J')} of its source at {short(digital)}"


def _p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
