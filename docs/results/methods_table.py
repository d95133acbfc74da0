"""Tables and chart of the method comparison: python docs/results/methods_table.py DIR docs/results/methods.md docs/results/methods.svg.

Reads the trials of methods.toml and methods_slow.toml from the store DIR, and what methods_auto.py wrote; replaces what stands in the
Markdown file below the line of `MARK`. Statistics: chains are compared by their differences on the same networks (paired by seed,
two-sided t test, Holm 1979 over all chains compared with the best one, 5 % in all).
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.config import Experiment, Trial, load_experiment
from experiments.stages import model_key
from experiments.store import Store

MARK = "<!-- What follows is written by methods_table.py. -->"
CONFIGS = {
    "methods.toml": ("", "small", "deep", "spoken", "spam", "polarity", "quick"),
    "methods_slow.toml": (
        *("", "large", "deep", "spoken", "spam", "polarity"),
        *("qcfs", "qcfs_deep", "qcfs_spoken", "qcfs_spam", "qcfs_polarity"),
    ),
}
TITLES = {
    "mnist 1200-1200": "MNIST 784-1200-1200-10",
    "mnist 256-128": "MNIST 784-256-128-10",
    "mnist 256-256-256-256-256": "MNIST, five hidden layers of 256",
    "spoken_digits 256-128": "Spoken digits, 256-128",
    "sms_spam 128": "SMS spam, 128",
    "sentence_polarity 128": "Sentence polarity, 128",
    "digits 128-64": "8x8 digits, 128-64",
}
HARDER = ("mnist 256-256-256-256-256", "spoken_digits 256-128", "sms_spam 128", "sentence_polarity 128")
# What a step of a chain asks for beyond one binary spike a neuron and step, from the first step on.
NEEDS = {
    "burst": "several spikes a step",
    "signed": "signed spikes",
    "srp": "pre-steps",
    "cos": "pre-steps",
    "ftbc": "a bias a step",
    "qcfs": "training with it",
}
AUTO = "method = auto"
COLOURS = {  # Okabe and Ito 2008
    "max_norm": "#E69F00",
    "percentile_norm": "#56B4E9",
    "ltb": "#009E73",
    "ltb(iterations 20) + calibration(rounds 3)": "#D55E00",
    "mmse(per_neuron)": "#0072B2",
    "gaussian": "#CC79A7",
    "burst": "#222222",
}
OTHERS, TRAINED = "other chains", "qcfs (trained with its activation)"
LEAST = 0.01  # lower edge of the chart [%]
ALPHA = 0.05


@dataclass(frozen=True)
class Run:
    """One seed of a chain at one T: loss [points], disagreement [%], spikes and synaptic operations a sample, pre-steps."""

    seed: int
    loss: float
    disagreement: float
    spikes: float = float("nan")
    operations: float = float("nan")
    extra: int = 0


@dataclass(frozen=True)
class Results:
    """Runs by (place, chain, T), accuracies of the ANNs by place and seed [%], and what was refused by chain and place."""

    cells: dict[tuple[str, str, int], list[Run]]
    anns: dict[str, dict[int, float]]
    refused: dict[tuple[str, str, str], list[int]]

    def chains(self, place: str, n_steps: int | None = None) -> list[str]:
        """Return the chains of a place, of all T or one."""
        return sorted({c for p, c, t in self.cells if p == place and n_steps in (None, t)})

    def steps(self, place: str) -> list[int]:
        """Return the T of a place."""
        return sorted({t for p, _, t in self.cells if p == place})

    def values(self, place: str, chain: str, n_steps: int, of: str) -> dict[int, float]:
        """Return "loss" or "disagreement" by seed."""
        return {r.seed: getattr(r, of) for r in self.cells.get((place, chain, n_steps), [])}


def experiments() -> Iterable[Experiment]:
    """Yield the configs with each of their presets."""
    for config, presets in CONFIGS.items():
        for preset in presets:
            yield load_experiment(config, preset=preset)


def place_of(trial: Trial) -> str:
    """Return data set and hidden layers."""
    return f"{trial.data.name} {'-'.join(map(str, trial.model.hidden))}"


def needs(chain: str) -> str:
    """Return what a chain asks for beyond one binary spike a neuron and step, or ""."""
    return next((what for name, what in NEEDS.items() if any(part.startswith(name) for part in chain.split(" + "))), "")


def read(store: Store, auto: Path) -> Results:
    """Return what the store holds of the two configs."""
    found = {t.key: (t, r) for e in experiments() for t in e.trials if (r := store.get(t.key, arrays=False)) is not None}
    accuracy = {model_key(t): r.result["row"]["accuracy"]["value"] for t, r in found.values() if t.convert is None}
    cells: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    anns: dict[str, dict[int, float]] = defaultdict(dict)
    refused: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for trial, result in found.values():
        place = place_of(trial)
        trained = bool(trial.train) and trial.train.get("activation") == "qcfs"  # type: ignore[union-attr]
        if trial.convert is None:
            anns[place + (" qcfs" if trained else "")][trial.seed] = 100 * accuracy[model_key(trial)]
        if trial.run is None:
            continue
        if result.status != "done":
            lines = [line.strip() for line in result.reason.splitlines()]
            refused[place, trial.chain, lines[1] if len(lines) > 1 else lines[0]].append(trial.run.n_steps)
            continue
        row = result.result["row"]
        before = row["engine"].get("protocol") or {}
        if before and "layer_steps" not in before:  # recorded before a row counted its pre-steps
            row["spikes"] += sum(before["spikes"].values()) / row["n"]
            row["synaptic_operations"] += sum(before["synaptic_operations"].values()) / row["n"]
        cells[place, trial.chain, trial.run.n_steps].append(
            Run(
                trial.seed,
                100 * (accuracy[model_key(trial)] - row["accuracy"]["value"]),
                100 * row["disagreement"]["value"],
                row["spikes"],
                row["synaptic_operations"],
                row["total_steps"],
            )
        )
    # A feed-forward network takes a step a layer besides; what a chain takes on top of the quickest one are its pre-steps.
    for place, t in {(p, t) for p, _, t in cells}:
        shortest = min(r.extra for (p, _, n), runs in cells.items() if (p, n) == (place, t) for r in runs)
        for chain in {c for p, c, n in cells if (p, n) == (place, t)}:
            cells[place, chain, t] = [Run(**{**r.__dict__, "extra": r.extra - shortest}) for r in cells[place, chain, t]]
    for row in json.loads(auto.read_text()) if auto.exists() else []:
        cells[row["where"], AUTO, row["n_steps"]].append(Run(row["seed"], row["loss"], row["disagreement"]))
    return Results(dict(cells), dict(anns), dict(refused))


def half_interval(values: Any) -> float:
    """Return the half-width of the 95 % interval of a mean."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def holm(p: list[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979)."""
    corrected, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p)):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = least
    return corrected


def compared(results: Results, place: str, n_steps: int, of: str, plain: bool) -> tuple[str, set[str], int]:
    """Return the chain with the least mean, those that are worse than it beyond chance, and how many it was compared with.

    Chains that were refused on some of the networks are not compared, nor are networks with a training of their own; ``plain``: only
    chains that need nothing beyond one binary spike a neuron and step.
    """
    by = {c: results.values(place, c, n_steps, of) for c in results.chains(place, n_steps)}
    seeds = max((set(v) for v in by.values()), key=len)
    by = {c: v for c, v in by.items() if set(v) == seeds and c != AUTO and "qcfs" not in c and not (plain and needs(c))}
    best = min(by, key=lambda c: float(np.mean(list(by[c].values()))))
    rivals = [c for c in by if c != best]
    p = []
    for c in rivals:
        gaps = np.array([by[c][s] - by[best][s] for s in sorted(seeds)])
        spread = float(np.ptp(gaps))
        p.append(float(stats.ttest_1samp(gaps, 0).pvalue) if spread > 1e-12 else float(abs(gaps[0]) < 1e-12))
    return best, {c for c, q in zip(rivals, holm(p), strict=True) if q < ALPHA}, len(rivals)


def summary(results: Results, plain: bool) -> list[str]:
    """Return the table of the chain that disagrees least, by place and T, and of how many are not worse beyond chance."""
    places = [p for p in TITLES if any(key[0] == p for key in results.cells)]
    steps = sorted({t for _, _, t in results.cells})
    lines = ["| network | " + " | ".join(f"T = {t}" for t in steps) + " |", "|---" * (len(steps) + 1) + "|"]
    for place in places:
        row = []
        for t in steps:
            if t not in results.steps(place):
                row.append("-")
                continue
            best, worse, rivals = compared(results, place, t, "disagreement", plain)
            mean = np.mean(list(results.values(place, best, t, "disagreement").values()))
            text = f"`{best}` {mean:.2f}"
            row.append(f"**{text}**; wins" if len(worse) == rivals else f"{text}; {rivals - len(worse)} of {rivals} as good")
        lines.append(f"| {TITLES[place]} | " + " | ".join(row) + " |")
    return lines


def ratios(results: Results) -> list[str]:
    """Return the table of disagreement in units of the least of each network, geometric means over the networks."""
    places = [p for p in TITLES if p in results.anns and p != "digits 128-64"]
    steps = [1, 2, 4, 8, 16]
    chains = sorted({c for p, c, _ in results.cells if p in places and "qcfs" not in c})
    rows: list[tuple[float, str]] = []
    for chain in chains:
        row, order = [], 0.0
        for t in steps:
            logs = []
            for place in places:
                mine = results.values(place, chain, t, "disagreement")
                if len(mine) < (2 if chain == AUTO else len(results.anns[place])):
                    break
                least = compared(results, place, t, "disagreement", True)[0]
                best = np.mean([v for s, v in results.values(place, least, t, "disagreement").items() if s in mine])
                logs.append(np.log((np.mean(list(mine.values())) + LEAST) / (best + LEAST)))
            whole = len(logs) == len(places)
            row.append(f"{np.exp(np.mean(logs)):.2f}" if whole else "-")
            order += float(np.mean(logs)) if whole and t <= 4 else 0.0 if t > 4 else 99.0 * (chain != AUTO)
        rows.append((order, f"| {chain} | {needs(chain) or '-'} | " + " | ".join(row) + " |"))
    head = ["| chain | needs | " + " | ".join(f"T = {t}" for t in steps) + " |", "|---" * (len(steps) + 2) + "|"]
    return head + [line for _, line in sorted(rows)]


def tables(results: Results, place: str) -> list[str]:
    """Return the section of one network."""
    steps, chains = results.steps(place), results.chains(place)
    seeds = sorted(results.anns[place])
    lines = ["", f"## {TITLES[place]}", ""]
    lines.append(f"{len(seeds)} networks; accuracy {', '.join(f'{results.anns[place][s]:.2f}' for s in seeds)} %.")
    if own := results.anns.get(place + " qcfs"):
        lines[-1] += f" Trained with the activation of QCFS (L = 4): {', '.join(f'{own[s]:.2f}' for s in sorted(own))} %."
    worse = {of: {t: compared(results, place, t, of, False)[1] for t in steps} for of in ("loss", "disagreement")}

    def loss(runs: list[Run]) -> str:
        return f"{np.mean([r.loss for r in runs]):.2f} ± {half_interval([r.loss for r in runs]):.2f}"

    def disagreement(runs: list[Run]) -> str:
        return f"{np.mean([r.disagreement for r in runs]):.2f} ± {half_interval([r.disagreement for r in runs]):.2f}"

    def work(runs: list[Run]) -> str:
        return f"{np.mean([r.spikes for r in runs]):,.0f} / {np.mean([r.operations for r in runs]):,.0f}"

    kinds = (
        ("Disagreement [%]", "disagreement", disagreement),
        ("Loss [points]", "loss", loss),
        ("Spikes / synaptic operations", "", work),
    )
    for title, of, written in kinds:
        if not of:
            lines += ["", "<details><summary>Spikes and synaptic operations a sample</summary>"]
        lines += ["", f"| {title} | " + " | ".join(f"T = {t}" for t in steps) + " |", "|---" * (len(steps) + 1) + "|"]
        for chain in [c for c in chains if of or c != AUTO]:
            row = []
            for t in steps:
                runs = results.cells.get((place, chain, t), [])
                complete = len(runs) == len(seeds)
                text = (written(runs) if len(runs) > 1 else "-") + ("" if complete or len(runs) < 2 else f" (n = {len(runs)})")
                free = of and complete and chain != AUTO and "qcfs" not in chain and chain not in worse[of][t]
                row.append(f"**{text}**" if free else text)
            extra = max((r.extra for t in steps for r in results.cells.get((place, chain, t), [])), default=0)
            lines.append(f"| {chain}{f' (+ {extra} steps)' if extra else ''} | " + " | ".join(row) + " |")
        if not of:
            lines += ["", "</details>"]
    refused = sorted((c, why, ts) for (p, c, why), ts in results.refused.items() if p == place)
    if refused:
        lines += ["", "Refused:", ""]
        lines += [f"- `{c}`, {len(ts)} of the runs at T = {', '.join(map(str, sorted(set(ts))))}: {why}" for c, why, ts in refused]
    return lines


def chart(results: Results, path: Path) -> None:
    """Draw disagreement against the steps until the answer, a panel a network."""
    import altair as alt
    import vl_convert

    places = [p for p in TITLES if p in results.anns and p != "digits 128-64"]
    rows = []
    for (place, chain, t), runs in sorted(results.cells.items()):
        if place not in places or chain == AUTO or len(runs) < 2 or chain == "qcfs + calibration":
            continue
        shown = TRAINED if chain == "qcfs" else chain if chain in COLOURS else OTHERS
        value = max(float(np.mean([r.disagreement for r in runs])), LEAST)
        rows.append({"network": TITLES[place], "chain": chain, "shown": shown, "steps": t + runs[0].extra, "disagreement": value})
    shown = alt.Color(
        "shown:N",
        title=None,
        scale=alt.Scale(domain=[*COLOURS, OTHERS, TRAINED], range=[*COLOURS.values(), "#D3D7DB", "#7A4FB5"]),
        legend=alt.Legend(orient="bottom", columns=3, labelLimit=420, symbolType="stroke", symbolStrokeWidth=3, labelFontSize=12),
    )
    ticks = [1, 2, 4, 8, 16, 32, 64]
    base = alt.Chart().encode(
        x=alt.X(
            "steps:Q",
            scale=alt.Scale(type="log", base=2, domain=[1, 74]),
            axis=alt.Axis(values=ticks, grid=False),
            title="time steps, pre-steps included",
        ),
        y=alt.Y(
            "disagreement:Q",
            scale=alt.Scale(type="log", domain=[LEAST, 100]),
            axis=alt.Axis(values=[0.01, 0.1, 1, 10, 100], format="~g", gridColor="#ECEEF0"),
            title="differs from the ANN [%]",
        ),
        detail="chain:N",
        color=shown,
    )
    grey = base.transform_filter(f"datum.shown == '{OTHERS}'").mark_line(strokeWidth=1.2)
    coloured = base.transform_filter(f"datum.shown != '{OTHERS}' && datum.shown != '{TRAINED}'").mark_line(
        strokeWidth=2.2, point=alt.OverlayMarkDef(size=26)
    )
    trained = base.transform_filter(f"datum.shown == '{TRAINED}'").mark_point(size=70, shape="diamond", strokeWidth=2)
    layers = alt.layer(grey, coloured, trained).properties(width=285, height=235)
    made = (
        layers.facet(
            facet=alt.Facet(
                "network:N", title=None, sort=[TITLES[p] for p in places], header=alt.Header(labelFontSize=13, labelFontWeight="bold")
            ),
            columns=3,
            data=alt.Data(values=rows),
        )
        .configure_view(stroke="#C9CED3")
        .configure_axis(titleFontWeight="normal", titleFontSize=12, labelFontSize=11)
    )
    path.write_text(vl_convert.vegalite_to_svg(made.to_dict()), encoding="utf-8")


def main(folder: str, page: str, figure: str = "") -> None:
    """Rewrite the generated part of the page; draw the chart where a file is named."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    results = read(Store(folder, create=False), Path(__file__).parent / "methods_auto.json")
    lines = [MARK, "", "## Least disagreement with the ANN", ""]
    lines += ["Chains of one binary spike a neuron and step, no pre-steps, mean of the networks [%]:", "", *summary(results, True)]
    lines += ["", "All chains, with what they need:", "", *summary(results, False)]
    lines += ["", "## Chains over all networks", ""]
    lines += [
        "Disagreement divided by the least that a chain of the first table reaches on that network, geometric mean over the six networks of the",
        f"chart (0.01 % is added to both, so that none is zero); ordered by T = 1, 2 and 4. `{AUTO}` ran at T = 1, 2 and 4.",
        "",
        *ratios(results),
    ]
    for place in TITLES:
        if place in results.anns:
            lines += tables(results, place)
    path = Path(page)
    prose = path.read_text(encoding="utf-8").partition(MARK)[0] if path.exists() else ""
    path.write_text(prose + "\n".join(lines) + "\n", encoding="utf-8")
    if figure:
        chart(results, Path(figure))


if __name__ == "__main__":
    main(*sys.argv[1:4])
