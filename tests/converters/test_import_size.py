"""A large model is not held several times over: 100 MB of ONNX load in less than three times their size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import import_models as models
import pytest

PROGRAM = """
import sys, time, warnings
import onnx, onnxruntime
import converters
import import_hostile as measured
before = measured.resident("VmRSS")
measured.forget()
start = time.perf_counter()
mlp = converters.load(sys.argv[1])
took, peak = time.perf_counter() - start, measured.resident() - before
assert mlp.info["verification"]["samples"] > 0
print(mlp.n_out, took, peak)
"""


@pytest.mark.slow
@pytest.mark.parametrize("matmul", [False, True], ids=["Gemm", "MatMul"])
def test_100_mb_of_onnx(matmul: bool, tmp_path: Path, root: Path) -> None:
    pytest.importorskip("onnxruntime")
    file = models.saved(models.onnx_mlp(models.mlp_arrays(sizes=(2000, 4096, 4096, 1000)), matmul), tmp_path / "m.onnx")
    size = file.stat().st_size / (1 << 20)
    assert size > 100
    paths = os.pathsep.join((str(root), str(root / "tests/converters")))
    command = [sys.executable, "-c", PROGRAM, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=True)
    n_out, took, peak = (float(word) for word in done.stdout.split())
    print(f"{size:.0f} MB loaded and compared in {took:.1f} s with {peak:.0f} MB, {peak / size:.2f} times its size")
    assert n_out == 1000
    assert peak < 3 * size
