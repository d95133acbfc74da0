"""Files that mean harm or are damaged: each gets UnsupportedModelError, runs no code, and takes little memory.

All of them are loaded in one process of their own, which measures itself; see import_hostile.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import import_hostile
import pytest

MOST_MEGABYTES = 500
HANGS = 300  # [s] for all of them; each takes far less than a second or two

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, dict]:
    """Return what came of every file; the slowest and the largest are printed."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = os.pathsep.join((str(root), str(root / "tests/converters")))
    program = [sys.executable, import_hostile.__file__, str(folder)]
    done = subprocess.run(
        program, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / import_hostile.WITNESS).exists(), "code of a file was run"
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    for field, unit in (("cpu", "s of processor time"), ("megabytes", "MB")):
        worst = max(rows.values(), key=lambda row: row[field])
        print(f"{len(rows)} hostile files; the most {unit}: {worst[field]:.2f} ({worst['name']})")
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", import_hostile.CASES)
def test_hostile_file_is_refused(name: str, results: dict[str, dict]) -> None:
    row = results[name]
    assert row["raised"] == "UnsupportedModelError", row
    assert row["megabytes"] < MOST_MEGABYTES, row
    assert "m." in row["message"], "the message names the file"


@pytest.mark.slow
def test_every_hostile_file_was_loaded(results: dict[str, dict]) -> None:
    assert set(results) == set(import_hostile.CASES)
