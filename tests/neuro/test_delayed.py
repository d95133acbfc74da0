"""The estimated start of a delayed read-out."""

from __future__ import annotations

import numpy as np
import pytest
from test_conformance import chain

from neuro.delayed import estimate_start
from neuro.engines import simulate
from neuro.errors import SpecError
from neuro.network import Population, Projection, SpikingNetwork
from neuro.readout import Readout


def driven(drive: float, layers: int = 2) -> SpikingNetwork:
    """Neurons that fire once every theta / drive steps, first after half of that."""
    hidden = [
        Population(f"hidden{i}", 3, v_threshold=64.0, v_init=32.0, bias=np.full(3, drive), start=i, grid=1.0) for i in range(layers)
    ]
    output = Population("output", 2, reset=None, start=layers, grid=1.0)
    names = [p.name for p in (*hidden, output)]
    projections = [Projection("input", "hidden0", np.zeros((3, 1)), delay=0)]
    projections += [
        Projection(a, b, np.zeros((3 if b != "output" else 2, 3))) for a, b in zip(names[:-1], names[1:], strict=True)
    ]
    return SpikingNetwork((*hidden, output), tuple(projections), 1)


@pytest.mark.parametrize(("drive", "start"), [(32.0, 2), (16.0, 4), (8.0, 8)])
def test_every_layer_adds_the_steps_to_its_first_spike(drive: float, start: int) -> None:
    # Over T = 64 steps the rate is drive / theta, so a layer takes (theta - v_init) / drive = 32 / drive steps.
    assert estimate_start(driven(drive), np.zeros((2, 1)), 64) == Readout(kind="delayed", start=start)


def test_at_least_four_steps_are_left_to_read() -> None:
    assert estimate_start(driven(8.0), np.zeros((1, 1)), 8).start == 4
    assert estimate_start(driven(32.0), np.zeros((1, 1)), 3).start == 0


def test_the_estimate_can_be_given_to_simulate() -> None:
    x = np.random.default_rng(0).random((6, 6))
    readout = estimate_start(chain(3), x, 12)
    assert readout.kind == "delayed" and 0 < readout.start <= 8
    late = simulate(chain(3), x, 12, readout=readout)
    assert (late.predictions_at[: readout.start + 3] == -1).all()


def test_a_silent_layer_is_said() -> None:
    with pytest.raises(SpecError, match="hidden0 sends no spike on these samples in 4 steps"):
        estimate_start(driven(0.0), np.zeros((1, 1)), 4)
