"""Spikes that go to a file are those kept in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuro.engines import EngineOptions, Record, simulate
from neuro.errors import EngineError
from neuro.network import Population, Projection, SpikingNetwork
from neuro.progress import Progress

N_SAMPLES = 9
X = np.random.default_rng(5).random((N_SAMPLES, 6))


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    rng = np.random.default_rng(4)
    hidden = Population("hidden1", 12, v_threshold=60.0, v_init=30.0, grid=1.0)
    output = Population("output", 3, start=1, reset=None, grid=1.0)
    projections = (
        Projection("input", "hidden1", rng.integers(-40, 60, (12, 6)).astype(float), delay=0),
        Projection("hidden1", "output", rng.integers(-9, 10, (3, 12)).astype(float)),
    )
    return SpikingNetwork((hidden, output), projections, 6)


def test_streamed_spikes_are_those_kept_in_memory(network: SpikingNetwork, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "spikes.h5"
    kept = simulate(network, X, 6, record=Record(spikes=("hidden1",)))
    streamed = simulate(network, X, 6, record=Record(spikes=("hidden1",), stream_to=str(path)))
    assert streamed.info["spikes_file"] == str(path) and not streamed.spikes
    with h5py.File(path) as file:
        rows = file["hidden1"][()]
    order = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))
    np.testing.assert_array_equal(rows[order], kept.spikes["hidden1"])
    assert len(rows) == kept.spike_counts["hidden1"].sum() > 0


def test_a_run_that_fails_leaves_no_file(network: SpikingNetwork, tmp_path: Path) -> None:
    pytest.importorskip("h5py")

    def stop(report: Progress) -> None:
        raise KeyboardInterrupt

    record = Record(spikes=("hidden1",), stream_to=str(tmp_path / "spikes.h5"))
    with pytest.raises(KeyboardInterrupt):
        simulate(network, X, 6, engine="reference", record=record, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "options", "words"),
    [
        (Record(stream_to="x.h5"), EngineOptions(), "needs record.spikes"),
        (Record(spikes=("hidden1",), stream_to="x.h5"), EngineOptions(workers=2), "use workers=1"),
    ],
)
def test_what_cannot_be_streamed(network: SpikingNetwork, record: Record, options: EngineOptions, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        simulate(network, X, 3, record=record, options=options)
