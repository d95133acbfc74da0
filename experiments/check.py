"""Does the installation work? Versions, engines that agree on a small network, chips that load, data that are found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from neuro.chip import list_chips, load_chip
from neuro.engines import ENGINES, simulate
from neuro.errors import SpikeportError
from neuro.network import INPUT, Population, Projection, SpikingNetwork

from .datasets import DATASETS, load_dataset
from .datasets.fetch import VARIABLE, cache_folder
from .provenance import machine, versions

OPTIONAL = ("onnx", "onnxruntime", "torch", "scikit-learn", "skops", "h5py", "nir", "distributed", "optuna", "pyarrow", "neo")


@dataclass(frozen=True)
class Result:
    """One thing that was looked at: its name, whether it works, and what was found. ``needed``: nothing runs without it."""

    name: str
    works: bool
    found: str
    needed: bool = True


def check(data_dir: Path | None = None) -> Iterator[Result]:
    """Yield what was found, one thing after the other."""
    facts = machine()
    yield Result("machine", True, f"{facts['processor']}, {facts['cores']} cores, {facts['system']}")
    yield Result("versions", True, ", ".join(f"{name} {version}" for name, version in versions().items()))
    installed = [f"{name} {metadata.version(name)}" for name in OPTIONAL if _installed(name)]
    absent = [name for name in OPTIONAL if not _installed(name)]
    yield Result("optional packages", True, f"{', '.join(installed) or 'none'}; not installed: {', '.join(absent) or 'none'}", False)
    yield _engines()
    yield _chips()
    yield from _data(data_dir)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def small_network(seed: int = 0) -> SpikingNetwork:
    """Return a network of whole numbers, 8-16-12-4, that every engine must run with the same spikes."""
    rng = np.random.default_rng(seed)
    sizes = (8, 16, 12, 4)
    populations, projections, before = [], [], INPUT
    for k, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = k == len(sizes) - 2
        name = "output" if last else f"hidden{k + 1}"
        weight = rng.integers(-7, 9, (n_out, n_in)).astype(float)
        threshold = None if last else 12.0
        v_init = 0.0 if last else 6.0
        populations.append(
            Population(name, n_out, v_threshold=threshold, v_init=v_init, reset=None if last else "subtract", start=k, grid=1.0)
        )
        projections.append(Projection(before, name, weight, delay=0 if k == 0 else 1))
        before = name
    return SpikingNetwork(tuple(populations), tuple(projections), input_size=sizes[0], input_high=3.0)


def _engines() -> Result:
    network = small_network()
    inputs = np.random.default_rng(1).integers(0, 4, (16, network.input_size)).astype(float)
    spikes, wrong = 0, []
    expected = None
    for engine in sorted(ENGINES, key=lambda name: name != "reference"):
        try:
            recording = simulate(network, inputs, 8, engine=engine)
        except (SpikeportError, ImportError) as error:
            wrong.append(f"{engine}: {error}")
            continue
        found = {name: tuple(counts) for name, counts in recording.spike_counts.items()}
        if expected is None:
            expected, spikes = found, sum(map(sum, found.values()))
        elif found != expected:
            wrong.append(f"{engine}: other spikes than reference")
    if wrong:
        return Result("engines", False, "; ".join(wrong))
    return Result("engines", spikes > 0, f"{', '.join(ENGINES)} give the same {spikes:,} spikes")


def _chips() -> Result:
    wrong = []
    for name in list_chips():
        try:
            load_chip(name)
        except SpikeportError as error:
            wrong.append(f"{name}: {error}")
    return Result("chips", not wrong, "; ".join(wrong) or f"{len(list_chips())} chip files load: {', '.join(list_chips())}")


def _data(data_dir: Path | None) -> Iterator[Result]:
    try:
        yield Result("digits", True, load_dataset("digits").describe().partition(": ")[2])
    except SpikeportError as error:
        yield Result("digits", False, str(error))
    variable = os.environ.get(VARIABLE)
    roots = [Path(folder) for folder in (data_dir, variable) if folder]
    for root in roots:
        if not root.is_dir():
            yield Result("data folder", False, f"{root} is not a folder", False)
    for name, entry in DATASETS.items():
        if name == "digits":
            continue
        folder = entry.folder or name
        places = [root / folder for root in (*roots, cache_folder()) if (root / folder).is_dir()]
        found = f"in {places[0]}" if places else "not on this machine; downloaded when first used"
        yield Result(name, bool(places), found, False)
