"""Make the table of a method comparison from its folder of results: python docs/results/methods_table.py DIR > FILE.md.

Loss: accuracy of the ANN minus that of the spiking network [points], mean over seeds with the 95 % interval of Student's t;
disagreement [%], spikes and synaptic operations a sample: means over seeds. T counts steps of the window alone.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import numpy as np
from scipy import stats

from experiments.config import Trial
from experiments.export import table
from experiments.store import Store


def label(trial: Trial) -> str:
    """Return the chain with the settings that differ from their defaults."""
    from converters.methods import METHODS

    parts = []
    for step in trial.steps:
        defaults = METHODS[step["name"]].options()
        changed = [f"{k} {v}" for k, v in step.items() if k != "name" and getattr(defaults, k) != v]
        parts.append(step["name"] + (f"({', '.join(changed)})" if changed else ""))
    return " + ".join(parts)


def main(folder: str) -> None:
    """Print one table a data set and shape."""
    store = Store(folder, create=False)
    anns: dict[tuple[str, int], float] = {}
    cells: dict[tuple[str, str, int], list[tuple[float, ...]]] = defaultdict(list)
    other: dict[str, int] = defaultdict(int)
    for row in table(store):
        result = store.get(str(row["key"]), arrays=False)
        assert result is not None
        trial = Trial.of(result.trial)
        where = f"{trial.data.name} {'-'.join(map(str, trial.model.hidden))}"
        if result.status != "done":
            other[f"{label(trial)}: {result.reason.splitlines()[0]}"] += 1
        elif trial.convert is None:
            anns[where, trial.seed] = float(row["accuracy"])  # type: ignore[arg-type]
    for row in table(store, ["status=done"]):
        result = store.get(str(row["key"]), arrays=False)
        assert result is not None
        trial = Trial.of(result.trial)
        if trial.convert is None or trial.run is None:
            continue
        where = f"{trial.data.name} {'-'.join(map(str, trial.model.hidden))}"
        numbers = [float(row[k] or 0) for k in ("accuracy", "disagreement", "spikes", "synaptic_operations")]  # type: ignore[arg-type]
        loss = 100 * (anns[where, trial.seed] - numbers[0])
        cells[where, label(trial), trial.run.n_steps].append((loss, 100 * numbers[1], *numbers[2:]))
    for where in sorted({key[0] for key in cells}):
        steps = sorted({key[2] for key in cells if key[0] == where})
        found = [value for (w, _), value in anns.items() if w == where]
        print(f"\n## {where}\n\nANN accuracy {100 * np.mean(found):.2f} % (mean of {len(found)} seeds).\n")
        print("| method | " + " | ".join(f"T = {t}: loss; disagreement; spikes; synops" for t in steps) + " |")
        print("|---" * (len(steps) + 1) + "|")
        for method in sorted({key[1] for key in cells if key[0] == where}):
            print(f"| {method} | " + " | ".join(cell(cells.get((where, method, t), [])) for t in steps) + " |")
    if other:
        print("\nNot done:\n")
        for reason, count in sorted(other.items()):
            print(f"- {count} trials, {reason}")


def cell(values: list[tuple[float, ...]]) -> str:
    """Return mean loss with its half interval and the number of seeds, then the means of the rest."""
    if not values:
        return "-"
    array: Any = np.array(values)
    n = len(array)
    half = stats.t.ppf(0.975, n - 1) * array[:, 0].std(ddof=1) / np.sqrt(n) if n > 1 else float("nan")
    loss, disagreement, spikes, operations = array.mean(axis=0)
    return f"{loss:.2f} ± {half:.2f} (n = {n}); {disagreement:.2f}; {spikes:.0f}; {operations:,.0f}"


if __name__ == "__main__":
    main(sys.argv[1])
