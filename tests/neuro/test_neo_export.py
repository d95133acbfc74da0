"""A Recording's spikes as Neo SpikeTrains."""

from __future__ import annotations

import numpy as np
import pytest
from test_conformance import chain

from neuro.engines import Record, simulate
from neuro.errors import SpecError

neo = pytest.importorskip("neo")


def test_trains_hold_every_spike_at_its_time() -> None:
    x = np.random.default_rng(0).random((5, 6))
    record = Record(spikes=("hidden1", "hidden2"), samples=(0, 3, 4))
    recording = simulate(chain(3), x, 7, engine="reference", record=record)
    block = recording.to_neo(dt=0.002)
    assert [segment.annotations["sample"] for segment in block.segments] == [0, 3, 4]
    back = {name: [] for name in recording.spikes}
    for segment in block.segments:
        for train in segment.spiketrains:
            assert float(train.t_stop.rescale("s")) == pytest.approx(0.014)
            for time in train.rescale("s").magnitude:
                row = (segment.annotations["sample"], round(time / 0.002), train.annotations["neuron"])
                back[train.annotations["population"]].append(row)
    for name, table in recording.spikes.items():
        assert len(table) and sorted(back[name]) == [tuple(row) for row in table.tolist()]


def test_silent_neurons_have_empty_trains_where_asked_for() -> None:
    network, x = chain(3), np.random.default_rng(0).random((2, 6))
    recording = simulate(network, x, 4, engine="reference", record=Record(spikes=("hidden1",)))
    trains = recording.to_neo(silent=True).segments[0].spiketrains
    assert len(trains) == network["hidden1"].size
    fired = len(np.unique(recording.spikes["hidden1"][recording.spikes["hidden1"][:, 0] == 0, 2]))
    assert sum(len(train) > 0 for train in trains) == fired == len(recording.to_neo().segments[0].spiketrains)


def test_what_cannot_be_exported_is_said() -> None:
    x = np.random.default_rng(0).random((2, 6))
    with pytest.raises(SpecError, match="holds no spikes; simulate with record="):
        simulate(chain(3), x, 4, engine="reference").to_neo()
    with pytest.raises(SpecError, match="dt is 0, expected the length of a step"):
        simulate(chain(3), x, 4, engine="reference", record=Record(spikes=("hidden1",))).to_neo(dt=0)
