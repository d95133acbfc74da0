"""Mutated files of every format: each loads, or is refused by an exception of the project's tree; none crashes, hangs or eats memory.

At least 500 mutants a format, and as many more as the format's share of two minutes allows. SPIKEPORT_FUZZ=10000 in the environment asks
for as many as that instead. The mutants depend on a seed, the format and their number alone; see import_fuzz.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import import_fuzz
import import_models as models
import pytest

from converters.importers import IMPORTERS

LEAST = 500
SECONDS = 75  # for all formats together; starting them takes the rest of two minutes
NEEDS = {
    "keras": ("h5py",),
    "npz": ("onnx",),
    "nir": ("h5py",),
    "onnx": ("onnx", "onnxruntime"),
    "pt": ("torch",),
    "pt2": ("torch",),
    "skops": ("skops", "sklearn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", import_fuzz.SEEDS)
def test_mutants_are_loaded_or_refused(name: str, tmp_path: Path, root: Path) -> None:
    if name == "keras":
        models.import_keras()
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    wanted = int(os.environ.get("SPIKEPORT_FUZZ", "0"))
    share = 0.0 if wanted else SECONDS / len(import_fuzz.SEEDS)
    paths = os.pathsep.join((str(root), str(root / "tests/converters")))
    program = [sys.executable, import_fuzz.__file__, name, str(wanted or LEAST), str(tmp_path), str(share)]
    done = subprocess.run(program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    kept = sorted(tmp_path.glob("mutant*"))
    assert done.returncode == 0, f"ended with {done.returncode} at {kept}\n{done.stderr[-2000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\n{name}: {report['mutants']:,} mutants in {report['seconds']:.0f} s, {report['outcomes']}, at most {report['megabytes']:.0f} MB"
    )
    assert report["mutants"] >= LEAST
    # A mutator that always breaks the outermost layer would test nothing behind it.
    assert report["outcomes"]["loaded"] > 0.02 * report["mutants"]


def test_every_kind_of_file_is_mutated() -> None:
    suffixes = {suffix.lstrip(".") for importer in IMPORTERS.values() for suffix in importer.suffixes}
    assert suffixes - set(import_fuzz.SEEDS) <= {"pth"}  # which is .pt
