"""What every test may use: the data folder, and one thread a worker."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# The same examples in every run, and no time limit on any of them.
hypothesis.settings.register_profile("spikeport", deadline=None, derandomize=True)
hypothesis.settings.load_profile("spikeport")

# Before NumPy loads: with one worker a core, more threads only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder named by SPIKEPORT_DATA, with MNIST, spoken digits, texts and trained networks; skips where it is absent."""
    folder = os.environ.get("SPIKEPORT_DATA")
    if not folder:
        pytest.skip("SPIKEPORT_DATA is not set")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.skip(f"SPIKEPORT_DATA={folder} is not a folder")
    return path
