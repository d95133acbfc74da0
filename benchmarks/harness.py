"""What the comparison harness costs beside the simulations it runs: overhead, a second worker, a sweep, the page.

    python benchmarks/harness.py [--parts overhead,workers,sweep,page] [--repeats 3]

- overhead: trials whose simulation takes about a second, everything shared made before. Overhead is all that a trial
  takes beyond simulating the test samples; the part of it that is measurement for the page (a second, short run of
  100 samples that records rates, spikes and potentials) is given apart.
- workers: as many seconds of two worker processes as of one, start of the processes included; trials that share no
  stage (each trains, converts and runs its own network).
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
from pathlib import Path
from typing import Any

from experiments import stages
from experiments.compare import compare_store
from experiments.config import Experiment, parse
from experiments.report import page
from experiments.runner import RunnerOptions, run
from neuro.progress import Progress

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
[deploy]
chip = "{chip}"
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
    spent: list[tuple[str, float]] = []
    simulate = stages.simulate

    def timed(*args: Any, record: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = simulate(*args, record=record, **kwargs)
        spent.append(("watched" if record.rates else "main", time.perf_counter() - began))
        return result

    stages.simulate = timed  # type: ignore[assignment]
    try:
        for chip in ("", "loihi1"):
            _overhead(chip, repeats, spent)
    finally:
        stages.simulate = simulate


def _overhead(chip: str, repeats: int, spent: list[tuple[str, float]]) -> None:
    text = LONG if chip else LONG.replace('chip = "{chip}"', "chip = []")
    with tempfile.TemporaryDirectory() as folder:
        options = RunnerOptions(probes=False)
        # The first run makes what trials share, and loads what Python loads once.
        steps = 64
        run(parse(text.format(steps=[2, 3, steps], chip=chip)), folder, options)
        main = [seconds for kind, seconds in spent if kind == "main"][-1]
        steps = max(8, round(steps / main))
        spent.clear()
        ends: list[float] = []
        began = time.perf_counter()

        def ended(report: Progress) -> None:
            if report.stage == "trials":
                ends.append(time.perf_counter())

        made = parse(text.format(steps=[steps + k for k in range(repeats)], chip=chip))
        if chip:  # chips alone: their ideal twins are another part
            run(parse(LONG.replace('chip = "{chip}"', "chip = []").format(steps=[steps + k for k in range(repeats)])), folder, options)
            spent.clear()
            began = time.perf_counter()
        run(made, folder, options, ended)
    walls = [b - a for a, b in zip([began, *ends], ends, strict=False)]
    mains = [seconds for kind, seconds in spent if kind == "main"]
    watched = [seconds for kind, seconds in spent if kind == "watched"]
    assert len(walls) == len(mains) == len(watched), (len(walls), len(mains), len(watched))
    total = [100 * (wall - m) / m for wall, m in zip(walls, mains, strict=True)]
    pure = [100 * (wall - m - w) / m for wall, m, w in zip(walls, mains, watched, strict=True)]
    print(f"overhead, {f'on {chip}' if chip else 'ideal'}: trials of {spread(mains, ' s')} of simulation, T = {steps}")
    print(f"  all that is not the simulation: {spread(total, ' %')} of it")
    print(f"  without the short recorded run: {spread(pure, ' %')} of it", flush=True)


def workers(repeats: int) -> None:
    """Print how much faster two worker processes are than one."""
    ratios, ones, twos = [], [], []
    for _ in range(repeats):
        one, two = (_seconds(parse(SEEDS.format(seeds=list(range(8)))), count) for count in (1, 2))
        ones.append(one)
        twos.append(two)
        ratios.append(one / two)
    print(f"workers: one {spread(ones, ' s', 1)}, two {spread(twos, ' s', 1)}; one over two {spread(ratios)}", flush=True)


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
