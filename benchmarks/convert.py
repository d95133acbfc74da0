"""Seconds to convert a network by every method of the comparison, one core, the check of the result included.

    python benchmarks/convert.py --steps 16 --repeats 3 --out docs/results/convert

The chains are those of methods.toml and methods_slow.toml (`qcfs` apart, which needs its own training). Those of methods.toml take turns
in every repeat, the slow ones run once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MODEL = "mnist_784_1200_1200_10.npz"


WARM_UP = 256  # calibration samples of the runs that compile and do not count


def chains(config: str) -> dict[str, list[dict[str, Any]]]:
    """Return the chains of a config by label."""
    from experiments.config import load_experiment

    trials = load_experiment(config, overrides=["seeds=[0]"]).trials
    return {trial.chain: list(trial.steps) for trial in trials if trial.run is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=os.environ.get("SPIKEPORT_DATA", "."), help="folder with mlp/ and MNIST")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="name of the .json and .md to write, without its end")
    o = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # read when NumPy is imported, hence before that
    import converters
    from experiments.datasets import load_dataset
    from experiments.provenance import machine
    from neuro.errors import SpikeportError

    mlp = converters.load(Path(o.data_dir) / "mlp" / MODEL)
    x = load_dataset("mnist", o.data_dir).x_train[: o.calibration]
    seconds: dict[str, list[float]] = {}
    refused: dict[str, str] = {}

    def convert(name: str, steps: list[dict[str, Any]], samples: int, counts: bool) -> None:
        began = time.perf_counter()
        try:
            converters.convert(mlp, calibration=x[:samples], method=steps, n_steps=o.steps)
        except SpikeportError as error:
            if counts:
                refused[name] = str(error).splitlines()[0]
            return
        if counts:
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)

    fast, slow = chains("methods.toml"), chains("methods_slow.toml")
    for name, steps in fast.items():
        convert(name, steps, WARM_UP, False)
    for _ in range(o.repeats):
        for name, steps in fast.items():
            if name not in refused:
                convert(name, steps, o.calibration, True)
    for name, steps in slow.items():
        convert(name, steps, o.calibration, True)
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": machine()["processor"],
        "model": MODEL,
        "calibration": o.calibration,
        "n_steps": o.steps,
        "seconds": seconds,
        "refused": refused,
    }
    lines = [
        "# Time of a conversion",
        "",
        f"{MODEL.removesuffix('.npz')}, {o.calibration:,} calibration samples, T = {o.steps}, one thread, check of the result included;",
        f"{result['processor']}, {result['date']}. Seconds, minimum / median / maximum of {o.repeats} (slow chains: one run).",
        "",
        f"    python benchmarks/convert.py --steps {o.steps} --repeats {o.repeats} --out docs/results/convert",
        "",
        "| method | seconds |",
        "|---|---|",
        *[f"| {name} | {min(s):.2f} / {statistics.median(s):.2f} / {max(s):.2f} |" for name, s in sorted(seconds.items())],
        *[f"| {name} | {why} |" for name, why in sorted(refused.items())],
    ]
    print("\n".join(lines))
    if o.out is not None:
        o.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        o.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
