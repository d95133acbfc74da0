"""What is asked of an engine and cannot be done is refused, never left out."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuro.engines import EngineOptions, simulate
from neuro.errors import EngineError, SpecError
from neuro.network import Population, Projection, SpikingNetwork

NETWORK = SpikingNetwork((Population("output", 2, reset=None, grid=1.0),), (Projection("input", "output", np.eye(2), 0),), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "cuda"}, "target is 'cuda', expected 'numpy' or 'cython'"),
        ({"device": "gpu", "dt": 0.0}, "device is 'gpu', expected 'runtime' or 'cpp_standalone'; dt is 0.0, expected a time step above 0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"workers": 1.5}, "workers is 1.5, expected an integer of 1 or more"),
        ({"batch_size": 0}, "batch_size is 0, expected an integer of 1 or more"),
    ],
)
def test_values_that_no_engine_has(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        simulate(NETWORK, np.ones((1, 2)), 2, options=EngineOptions(**options))


@pytest.mark.parametrize(
    ("engine", "options", "said"),
    [
        ("batched", {"device": "cpp_standalone"}, "'batched' cannot heed device='cpp_standalone', which 'synapses' can"),
        ("synapses", {"delivery": "dense", "kernel": "scipy"}, "delivery='dense', which 'batched' can; kernel='scipy', which 'batched' can"),
        ("reference", {"target": "cython"}, "target='cython', which 'batched' and 'synapses' can"),
    ],
)
def test_what_another_engine_heeds(engine: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        simulate(NETWORK, np.ones((1, 2)), 2, engine=engine, options=EngineOptions(**options))


def test_every_engine_takes_its_size_of_a_batch_and_its_time_step() -> None:
    for engine in ("batched", "synapses", "reference"):
        found = simulate(NETWORK, np.ones((3, 2)), 2, engine=engine, options=EngineOptions(batch_size=2, dt=2e-4))
        np.testing.assert_array_equal(found.outputs, np.ones((3, 2)))


SCRIPT = """
import numpy as np, neuro
from neuro import Population, Projection
firing, silent = Population("a", 2, 1.0, grid=1.0), Population("output", 2, reset=None, start=1, grid=1.0)
eye = np.eye(2)
network = neuro.SpikingNetwork((firing, silent), (Projection("input", "a", eye, 0), Projection("a", "output", eye, 1)), 2)
for engine, options in (("batched", {"neurons": "brian2"}), ("synapses", {})):
    try:
        neuro.simulate(network, np.ones((1, 2)), 2, engine=engine, options=neuro.EngineOptions(target="cython", **options))
    except neuro.errors.EngineError as error:
        print(engine, error)
"""


def test_cython_without_a_compiler_says_how_to_get_one(tmp_path: Path) -> None:
    """In a process of its own, with nothing on the search path and an empty cache."""
    pytest.importorskip("Cython")
    environment = {**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    for name in ("CC", "CXX"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said] == ["batched", "synapses"]
    assert all("needs a C++ compiler" in line and "apt-get install g++" in line and "target='numpy'" in line for line in said)


def test_cython_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "Cython" else find(name, *more))
    with pytest.raises(EngineError, match="pip install cython"):
        simulate(NETWORK, np.ones((1, 2)), 2, options=EngineOptions(target="cython"))
