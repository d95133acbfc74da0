"""What the comparison harness costs beside the simulations it runs: overhead, a second worker, a sweep, the page.

    python benchmarks/harness.py [--parts overhead,workers,sweep,page] [--repeats 3]

- overhead: trials whose simulation takes about a second, everything shared made before. Harness is what a trial takes
  beyond simulating and measuring: finding its stages, provenance, the store. Measurements are the statistics, energy,
  latency, break-even and rivals of the row, which are given apart.
- workers: two worker processes beside one, a thread each, start of the processes included; trials that share no stage
  (each trains, converts and runs its own network).
- sweep: 500 trials on the digits that ship, two workers, from an empty folder.
- page: 200 trials of digits: the time to make the page, its size, and with Playwright and a Chromium the time until
  the load event and until every chart is drawn.

Every figure is given as minimum, median and maximum of the repeats.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from experiments import stages
from experiments.config import Experiment, parse
from experiments.crew import _limited_threads
from experiments.runner import RunnerOptions, run

PARTS = ("overhead", "workers", "sweep", "page")
LONG = """
title = "trials of a second"
[data]
name = "digits"
[model]
hidden = [1024, 1024]
[train]
epochs = 3
[run]
n_steps = {steps}
readout = "delayed"
readout_start = {starts}
[deploy]
chip = "loihi1"
"""
SEEDS = """
title = "nothing shared"
seeds = {seeds}
[data]
name = "digits"
[model]
hidden = [256, 256]
[train]
epochs = 40
patience = 0
[run]
n_steps = 32
[deploy]
chip = []
"""
SWEEP = """
title = "Handwritten digits: methods, steps and bits on Loihi 1"
seeds = [0, 1, 2, 3, 4]
[data]
name = "digits"
[model]
hidden = [128, 64]
[convert]
method = ["ltb", "percentile_norm", "max_norm"]
[run]
n_steps = {steps}
[deploy]
chip = "loihi1"
reset = ["construction", "native"]
weight_bits = {bits}
"""


def spread(values: list[float], unit: str = "", digits: int = 2) -> str:
    """Return minimum, median and maximum in words."""
    low, middle, high = (f"{v:.{digits}f}{unit}" for v in (min(values), statistics.median(values), max(values)))
    return f"median {middle} (min {low}, max {high}, n = {len(values)})"


def sweep_of(trials: int) -> Experiment:
    """Return a sweep on digits of about that many trials."""
    steps = (1, 2, 4, 6, 8, 12, 16) if trials > 300 else (1, 2, 4, 8, 16)
    return parse(SWEEP.format(steps=list(steps), bits=[8, 6] if trials > 300 else [8]))


def overhead(repeats: int) -> None:
    """Print what a trial takes beyond its simulation."""
    for group in ("ideal", "chip"):
        with tempfile.TemporaryDirectory() as folder:
            _overhead(group, repeats, Path(folder))


def _overhead(group: str, repeats: int, folder: Path) -> None:
    options, spent = RunnerOptions(probes=False), Clock()
    # The first trials make what the others share, and load what Python loads once.
    run(parse(LONG.format(starts=0, steps=8)), folder, options)
    with spent:
        run(parse(LONG.format(starts=0, steps=64)), folder, options)
    steps = max(8, round(64 / max(spent.simulated)))
    # Trials that differ in the read-out alone share everything but the simulation.
    experiment = parse(LONG.format(starts=list(range(repeats + 1)), steps=steps))
    ends: list[float] = []
    spent.clear()
    with spent:
        chosen = tuple(t for t in experiment.trials if t.group == group)
        run(replace(experiment, chosen=chosen), folder, options, lambda p: ends.append(time.perf_counter()) if p.stage == "trials" and p.done else None)
    # The first of them compiles or meets a cold cache.
    walls = [after - before for before, after in pairwise(ends)]
    simulated, measured = spent.simulated[1:], spent.measured[1:]
    assert len(walls) == len(simulated) == len(measured) == repeats
    both = list(zip(walls, simulated, measured, strict=True))
    print(f"overhead, {group}: trials of {spread(simulated, ' s')} of simulation, T = {steps}")
    print(f"  harness:      {spread([100 * (w - s - m) / s for w, s, m in both], ' %', 1)} of it")
    print(f"  measurements: {spread([100 * m / s for _, s, m in both], ' %', 1)} of it", flush=True)


class Clock:
    """Seconds of every simulation and of every measurement of its recording, while it is entered."""

    def __init__(self) -> None:
        self.simulated: list[float] = []
        self.measured: list[float] = []

    def clear(self) -> None:
        """Forget everything."""
        self.simulated.clear()
        self.measured.clear()

    def _timed(self, function: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                into.append(time.perf_counter() - began)

        return timed

    def __enter__(self) -> Clock:
        self._kept = stages.simulate, stages.measure.spiking
        stages.simulate = self._timed(stages.simulate, self.simulated)
        stages.measure.spiking = self._timed(stages.measure.spiking, self.measured)
        return self

    def __exit__(self, *error: object) -> None:
        stages.simulate, stages.measure.spiking = self._kept


def workers(repeats: int) -> None:
    """Print how much faster two worker processes are than one."""
    ratios, ones, twos = [], [], []
    for _ in range(repeats):
        experiment = parse(SEEDS.format(seeds=list(range(48))))
        one, two = _alone(experiment), _seconds(experiment, 2)
        ones.append(one)
        twos.append(two)
        ratios.append(one / two)
    print(f"workers: one {spread(ones, ' s', 1)}, two {spread(twos, ' s', 1)}; one over two {spread(ratios)}", flush=True)


def _alone(experiment: Experiment) -> float:
    """Return the seconds of one new process with one thread, its start included as that of workers is."""
    began = time.perf_counter()
    with _limited_threads(1), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_seconds, experiment, 1).result()
    return time.perf_counter() - began


def _seconds(experiment: Experiment, count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        summary = run(experiment, folder, RunnerOptions(workers=count, probes=False))
    assert summary.done == len(experiment.trials), summary
    return summary.seconds


def sweep(repeats: int) -> None:
    """Print how long a sweep of 500 trials takes."""
    experiment = sweep_of(500)
    found = [_seconds(experiment, 2) for _ in range(repeats)]
    print(f"sweep: {len(experiment.trials)} trials on digits with two workers: {spread([s / 60 for s in found], ' min')}", flush=True)


def pages(repeats: int, kept: Path | None = None) -> None:
    """Print how long the page of 200 trials takes to make, to open and to draw, and its size."""
    # Imported here: the process that works alone imports this file, and workers, which it is compared with, do without pages.
    from experiments.compare import compare_store
    from experiments.report import page

    experiment = sweep_of(200)
    with tempfile.TemporaryDirectory() as folder:
        store = kept or Path(folder) / "store"
        run(experiment, store, RunnerOptions(workers=2))
        made, path = [], Path(folder) / "report.html"
        for _ in range(repeats):
            began = time.perf_counter()
            text = page(compare_store(experiment, store))
            made.append(time.perf_counter() - began)
        path.write_text(text, encoding="utf-8")
        print(f"page: {len(experiment.trials)} trials, {len(text.encode()) / 1e6:.2f} MB, made in {spread(made, ' s', 1)}", flush=True)
        opened(path, repeats)


def opened(path: Path, repeats: int) -> None:
    """Print how long a page takes in a new Chromium without cache until the load event, and until its charts are drawn."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("  skipped: Playwright is not installed (pip install playwright)")
        return
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    loads, seen, drawn = [], [], []
    with sync_playwright() as playwright:
        for _ in range(repeats):
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(path.as_uri())
            loads.append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
            tab.wait_for_function("performance.getEntriesByName('charts-drawn').length > 0", timeout=120_000)
            drawn.append(tab.evaluate("performance.getEntriesByName('charts-drawn')[0].startTime") / 1000)
            paints = tab.evaluate("performance.getEntriesByType('paint').map((paint) => paint.startTime)")
            seen.append(max(paints) / 1000)
            chromium.close()
    print(f"  opens: first text {spread(seen, ' s')}, load event {spread(loads, ' s')}, every chart drawn {spread(drawn, ' s')}", flush=True)


RUN: dict[str, Callable[[int], None]] = {"overhead": overhead, "workers": workers, "sweep": sweep}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, help="keep the trials of the page here, and take what is there")
    parser.add_argument("--open", type=Path, help="only open this page")
    arguments = parser.parse_args()
    if arguments.open:
        return opened(arguments.open.resolve(), arguments.repeats)
    for part in arguments.parts.split(","):
        if part == "page":
            pages(arguments.repeats, arguments.store)
        else:
            RUN[part](arguments.repeats)


if __name__ == "__main__":
    main()
