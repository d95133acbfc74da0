"""Tables and chart of a method comparison: python docs/results/methods_table.py DIR [CHART.svg] > FILE.md.

Bold: not worse than the best of its column beyond the 95 % interval of their difference, paired by seed. In the summary, the numbers
in brackets say of how many other methods that is true.

Loss: accuracy of the ANN minus that of the spiking network [points], mean over seeds with the half-width of its 95 % interval (Student's
t); disagreement [%], spikes and synaptic operations a sample (those of pre-steps included): means over seeds. T counts the steps
of the window; pre-steps are named in the method's label and counted on the axis of the chart.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.config import Trial
from experiments.store import Store

# Lines with a colour of their own (Okabe and Ito 2008); the others are grey.
HIGHLIGHTED = {
    "max_norm": "#E69F00",
    "percentile_norm": "#56B4E9",
    "ltb": "#009E73",
    "mmse(per_neuron)": "#0072B2",
    "mmse(per_neuron) + calibration": "#D55E00",
    "percentile_norm(percentile 99) + calibration(rounds 3)": "#CC79A7",
    "ltb(iterations 20) + calibration(rounds 3)": "#882255",
    "signed": "#7F6A4D",
    "burst": "#222222",
}
OTHERS = "#C4C9CE"


@dataclass(frozen=True)
class Run:
    """One seed of a method at one T: loss [points], disagreement [%], spikes, synaptic operations, pre-steps."""

    seed: int
    loss: float
    disagreement: float
    spikes: float
    operations: float
    total_steps: int


Cells = dict[tuple[str, str, int], list[Run]]


def read(store: Store) -> tuple[Cells, dict[str, dict[int, float]], Counter[str]]:
    """Return the runs by (data and shape, method, T), the ANNs' accuracies by data and seed, and what was not done."""
    results = [r for key in store.keys() if (r := store.get(key, arrays=False)) is not None]
    trials = [(Trial.of(r.trial), r) for r in results]
    anns: dict[str, dict[int, float]] = defaultdict(dict)
    cells: Cells = defaultdict(list)
    other: Counter[str] = Counter()
    for trial, result in trials:
        if result.status != "done":
            other[f"{trial.chain}: {result.reason.splitlines()[0]}"] += 1
        elif trial.convert is None:
            anns[_where(trial)][trial.seed] = result.result["row"]["accuracy"]["value"]
    for trial, result in trials:
        if result.status != "done" or trial.run is None:
            continue
        row, where = result.result["row"], _where(trial)
        loss = 100 * (anns[where][trial.seed] - row["accuracy"]["value"])
        before = row["engine"].get("protocol") or {"spikes": {}, "synaptic_operations": {}}
        spikes = row["spikes"] + sum(before["spikes"].values()) / row["n"]
        operations = row["synaptic_operations"] + sum(before["synaptic_operations"].values()) / row["n"]
        run = Run(trial.seed, loss, 100 * row["disagreement"]["value"], spikes, operations, row["total_steps"])
        cells[where, trial.chain, trial.run.n_steps].append(run)
    return cells, anns, other


def _where(trial: Trial) -> str:
    return f"{trial.data.name} {'-'.join(map(str, trial.model.hidden))}"


def half_interval(values: Any) -> float:
    """Return the half-width of the 95 % interval of a mean."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def separated(cells: Cells, where: str, n_steps: int, methods: list[str], of: str) -> tuple[str, set[str]]:
    """Return the method with the least mean of ``of`` ("loss", "disagreement") and those that are worse beyond the interval.

    That is: the 95 % interval of the mean difference from the best, paired by seed, lies above zero. Not corrected for the number of
    methods: it says which methods may be as good, not that one of them wins.
    """
    by = {m: {r.seed: getattr(r, of) for r in cells[where, m, n_steps]} for m in methods if (where, m, n_steps) in cells}
    complete = max(len(v) for v in by.values())
    best = min((m for m in by if len(by[m]) == complete), key=lambda m: float(np.mean(list(by[m].values()))))
    worse = set()
    for method, values in by.items():
        gaps = [value - by[best][seed] for seed, value in values.items()]
        if method != best and (len(gaps) < complete or float(np.mean(gaps)) > half_interval(gaps)):
            worse.add(method)
    return best, worse


def print_summary(cells: Cells) -> None:
    """Print the method of least loss at every place and T, and how many others are not really worse."""
    places, steps = sorted({w for w, _, _ in cells}), sorted({t for _, _, t in cells})
    print("| Least loss; disagreement | " + " | ".join(f"T = {t}" for t in steps) + " |")
    print("|---" * (len(steps) + 1) + "|")
    for where in places:
        row = []
        for t in steps:
            methods = sorted({m for w, m, n in cells if (w, n) == (where, t)})
            if not methods:
                row.append("-")
                continue
            said = []
            for of in ("loss", "disagreement"):
                best, worse = separated(cells, where, t, methods, of)
                said.append(f"{best} [{len(methods) - len(worse) - 1} of {len(methods) - 1}]")
            row.append("; ".join(said) if said[0] != said[1] else said[0])
        print(f"| {where} | " + " | ".join(row) + " |")


def print_tables(cells: Cells, anns: dict[str, dict[int, float]], other: Counter[str]) -> None:
    """Print the tables of every data set and shape."""
    for where in sorted({key[0] for key in cells}):
        steps = sorted({t for w, _, t in cells if w == where})
        methods = sorted({m for w, m, _ in cells if w == where})
        seeds = sorted(anns[where])
        accuracy = " ".join(f"{100 * anns[where][s]:.2f}" for s in seeds)
        print(f"\n## {where}\n\nANN accuracy of seeds {', '.join(map(str, seeds))}: {accuracy} %.")
        shortest = {t: min(r.total_steps for m in methods for r in cells.get((where, m, t), [])) for t in steps}
        extra = {m: max((r.total_steps - shortest[t] for t in steps for r in cells.get((where, m, t), [])), default=0) for m in methods}
        complete = max(len(runs) for (w, _, _), runs in cells.items() if w == where)
        worse = {of: {t: separated(cells, where, t, methods, of)[1] for t in steps} for of in ("loss", "disagreement")}
        kinds = (
            ("Loss [points]", "loss", lambda r: f"{np.mean([x.loss for x in r]):.2f} ± {half_interval([x.loss for x in r]):.2f}"),
            ("Disagreement [%]", "disagreement", lambda r: f"{np.mean([x.disagreement for x in r]):.2f}"),
            ("Spikes / synaptic operations", "", lambda r: f"{np.mean([x.spikes for x in r]):,.0f} / {np.mean([x.operations for x in r]):,.0f}"),
        )
        for title, of, written in kinds:
            print(f"\n| {title} | " + " | ".join(f"T = {t}" for t in steps) + " |")
            print("|---" * (len(steps) + 1) + "|")
            for method in methods:
                row = []
                for t in steps:
                    runs = cells.get((where, method, t), [])
                    short = f" (n = {len(runs)})" if runs and len(runs) < complete else ""
                    text = written(runs) + short if runs else "-"
                    row.append(f"**{text}**" if runs and of and complete > 1 and method not in worse[of][t] else text)
                more = f" (+ {extra[method]} steps)" if extra[method] else ""
                print(f"| {method}{more} | " + " | ".join(row) + " |")
    if other:
        print("\nNot done:\n")
        for reason, count in sorted(other.items()):
            print(f"- {count} trials, {reason}")


def chart(cells: Cells, path: Path) -> None:
    """Draw disagreement over steps until the answer, one panel a data set."""
    import altair as alt
    import vl_convert

    rows = []
    for (where, method, t), runs in sorted(cells.items()):
        shortest = min(r.total_steps for (w, _, n), rs in cells.items() if (w, n) == (where, t) for r in rs)
        name = method if method in HIGHLIGHTED else "others"
        value = float(np.mean([r.disagreement for r in runs]))
        rows.append(
            {
                "data": where,
                "method": method,
                "shown": name,
                "steps": t + runs[0].total_steps - shortest,
                "disagreement": max(value, 0.01),
            }
        )
    colour = alt.Color(
        "shown:N",
        title=None,
        scale=alt.Scale(domain=[*HIGHLIGHTED, "others"], range=[*HIGHLIGHTED.values(), OTHERS]),
        legend=alt.Legend(orient="bottom", columns=3, labelLimit=420),
    )
    base = alt.Chart().encode(
        x=alt.X("steps:Q", scale=alt.Scale(type="log", base=2), title="steps of the window, pre-steps included"),
        y=alt.Y("disagreement:Q", scale=alt.Scale(type="log"), title="disagreement with the ANN [%]"),
        detail="method:N",
        color=colour,
    )
    grey = base.transform_filter("datum.shown == 'others'").mark_line(strokeWidth=1)
    coloured = base.transform_filter("datum.shown != 'others'").mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=30))
    layers = alt.layer(grey, coloured).properties(width=260, height=220)
    made = layers.facet(facet=alt.Facet("data:N", title=None), columns=3, data=alt.Data(values=rows)).resolve_scale(y="independent")
    path.write_text(vl_convert.vegalite_to_svg(made.to_dict()), encoding="utf-8")


def main(folder: str, figure: str = "") -> None:
    """Print the tables; draw the chart where a file is named."""
    cells, anns, other = read(Store(folder, create=False))
    print_summary(cells)
    print_tables(cells, anns, other)
    if figure:
        chart(cells, Path(figure))


if __name__ == "__main__":
    main(*sys.argv[1:3])
