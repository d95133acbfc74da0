"""Seconds to convert a network by every method of the comparison, one core, the check of the result included.

    python benchmarks/convert.py --steps 16 --repeats 3 --out docs/results/convert

The chains are those of methods.toml and methods_slow.toml (`qcfs` apart, which needs its own training); they take turns in every repeat.
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


def chains() -> dict[str, list[dict[str, Any]]]:
    """Return the chains of both configs by label."""
    from experiments.config import load_experiment

    found = {}
    for config in ("methods.toml", "methods_slow.toml"):
        for trial in load_experiment(config, overrides=["seeds=[0]"]).trials:
            if trial.run is not None:
                found[trial.chain] = list(trial.steps)
    return found


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
    for repeat in range(o.repeats + 1):  # the first compiles, and does not count
        for name, steps in chains().items():
            if name in refused:
                continue
            began = time.perf_counter()
            try:
                converters.convert(mlp, calibration=x, method=steps, n_steps=o.steps)
            except SpikeportError as error:
                refused[name] = str(error).splitlines()[0]
                continue
            if repeat:
                seconds.setdefault(name, []).append(time.perf_counter() - began)
                print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)
    result = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": machine()["processor"], "model": MODEL, "calibration": o.calibration, "n_steps": o.steps, "seconds": seconds, "refused": refused}
    lines = [
        "# Time of a conversion",
        "",
        f"{MODEL.removesuffix('.npz')}, {o.calibration:,} calibration samples, T = {o.steps}, one thread, check of the result included;",
        f"{result['processor']}, {result['date']}. Seconds, minimum / median / maximum of {o.repeats}.",
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
