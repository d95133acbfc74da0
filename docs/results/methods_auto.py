"""What method="auto" picks on the networks of methods.toml, and how it does on the test set: python docs/results/methods_auto.py DIR.

DIR: the store of the comparison, whose trained networks are used (without one they are trained). Calibration samples are those of the
chains' trials; auto holds every fourth of them out and never sees the test set. Writes docs/results/methods_auto.json, one row a network
and T; rows that are there already are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

import converters
from converters.methods.auto import HeldOutWarning, _step_label
from converters.verify import observe
from experiments.config import load_experiment
from experiments.runner import RunnerOptions, context_of, ready
from experiments.stages import Bench
from experiments.store import Store

OUT = Path(__file__).parent / "methods_auto.json"
PRESETS = ("spoken", "spam", "polarity", "small", "deep", "")
STEPS = (1, 2, 4)


def main(folder: str) -> None:
    """Add what is missing."""
    options = RunnerOptions(data_dir=os.environ.get("SPIKEPORT_DATA", "."))
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    done = {(r["preset"], r["seed"], r["n_steps"]) for r in rows}
    store = Store(folder)
    for preset in PRESETS:
        experiment = ready(load_experiment("methods.toml", preset=preset), options)
        work = Bench(store, context_of(store, experiment.folder, options))
        for trial in [t for t in experiment.trials if t.convert is None]:
            data, mlp = work.data(trial), work.model(trial)
            chosen = np.random.Generator(np.random.Philox(trial.seed)).permutation(len(data.x_train))[:2000]
            answers = mlp.forward(data.x_test).argmax(axis=-1)
            for t in STEPS:
                if (preset, trial.seed, t) in done:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", HeldOutWarning)
                    snn = converters.convert(mlp, calibration=data.x_train[np.sort(chosen)], method="auto", target_loss=0.0, n_steps=t)
                seen = observe(snn, data.x_test, t)
                said = seen.outputs.argmax(axis=-1)
                rows.append(
                    {
                        "preset": preset,
                        "where": f"{trial.data.name} {'-'.join(map(str, trial.model.hidden))}",
                        "seed": trial.seed,
                        "n_steps": t,
                        "picked": " + ".join(_step_label(step) for step in snn.info["auto"]["picked"]["method"]),
                        "loss": 100 * float(np.mean(answers == data.y_test) - np.mean(said == data.y_test)),
                        "disagreement": 100 * float(np.mean(answers != said)),
                    }
                )
                print(rows[-1], flush=True)
                OUT.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
