"""The engine of ordinary Brian2 objects: what a user can add to it, and the C++ program."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from neuro.encoding import with_encoder
from neuro.engines import EngineOptions, simulate
from neuro.errors import EngineError
from neuro.network import Population, Projection, SpikingNetwork


def network() -> SpikingNetwork:
    rng = np.random.default_rng(2)
    return SpikingNetwork(
        (
            Population("hidden1", 8, 60.0, v_init=30.0, grid=1.0),
            Population("hidden2", 6, 50.0, v_init=25.0, start=2, grid=1.0),
            Population("output", 3, reset=None, start=3, grid=1.0),
        ),
        (
            Projection("input", "hidden1", rng.integers(-20, 50, (8, 5)).astype(float), 0),
            Projection("hidden1", "hidden2", rng.integers(-20, 50, (6, 8)).astype(float), 2),
            Projection("hidden2", "output", rng.integers(-40, 40, (3, 6)).astype(float), 1),
        ),
        5,
    )


def test_build_returns_brian2_objects_that_a_user_extends() -> None:
    import brian2

    from neuro.engines.synapses import build

    net, x = network(), np.random.default_rng(0).random((4, 5))
    model = build(net, x, 6)
    assert set(model.groups) == {"hidden1", "hidden2", "output"}
    assert all(isinstance(s, brian2.Synapses) for s in model.synapses.values())
    monitor = brian2.StateMonitor(model.groups["hidden1"], "v", record=[0], clock=model.groups["hidden1"].clock)
    model.network.add(monitor)
    model.network.run(model.duration)
    assert monitor.v.shape[1] == 4 * 6 + net.depth - 1
    expected = simulate(net, x, 6, engine="reference")
    assert model.spikes["hidden2"].num_spikes == expected.spike_counts["hidden2"].sum() > 0


@pytest.mark.slow
def test_the_compiled_program_gives_the_same_answers_and_is_taken_again() -> None:
    """Several blocks, the last one shorter, all run by one program; then new inputs, seeds and read-outs by the same one."""
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler (g++) on this machine")
    import brian2

    from neuro.engines import standalone

    net = with_encoder(network(), "poisson")
    options = EngineOptions(device="cpp_standalone", batch_size=3)
    programs = []
    try:
        for n_samples, seed in ((8, 0), (2, 5)):
            x = np.random.default_rng(n_samples).random((n_samples, 5))
            compiled = simulate(net, x, 7, engine="synapses", seed=seed, options=options)
            expected = simulate(net, x, 7, engine="reference", seed=seed)
            np.testing.assert_array_equal(compiled.outputs, expected.outputs)
            assert sum(counts.sum() for counts in expected.spike_counts.values()) > 0
            for name, counts in expected.spike_counts.items():
                np.testing.assert_array_equal(compiled.spike_counts[name], counts)
            programs += standalone._kept
        assert len(programs) == 2 and programs[0] is programs[1] and programs[0].lives()
        assert type(brian2.get_device()).__name__ == "RuntimeDevice"
        folder = programs[0]._folder.name
        assert Path(folder).exists()
        with pytest.raises(EngineError, match="died"):
            programs[0]._worker.kill()
            programs[0]._worker._process.wait()
            programs[0].ask("run", np.arange(3))
    finally:
        standalone.close()
    assert not programs[0].lives() and not Path(folder).exists()


def test_without_a_compiler_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    options = EngineOptions(device="cpp_standalone")
    with pytest.raises(EngineError, match="apt-get install g\\+\\+"):
        simulate(network(), np.zeros((1, 5)), 2, engine="synapses", options=options)


@pytest.mark.slow
def test_cython_gives_the_same_spikes() -> None:
    """One hidden layer and no optimisation: the compiler's time is the cost of this test, the code is that of any layer."""
    pytest.importorskip("Cython")
    if not shutil.which("gcc"):
        pytest.skip("no C compiler (gcc) on this machine")
    import brian2

    rng = np.random.default_rng(3)
    net = SpikingNetwork(
        (Population("hidden1", 8, 60.0, v_init=30.0, grid=1.0), Population("output", 3, reset=None, start=2, grid=1.0)),
        (
            Projection("input", "hidden1", rng.integers(-20, 50, (8, 5)).astype(float), 0),
            Projection("hidden1", "output", rng.integers(-40, 40, (3, 8)).astype(float), 2),
        ),
        5,
    )
    x = rng.random((9, 5))
    expected = simulate(net, x, 7, engine="reference")
    before = brian2.prefs["codegen.cpp.extra_compile_args"]
    brian2.prefs["codegen.cpp.extra_compile_args"] = ["-O0"]
    try:
        for engine in ("batched", "synapses"):
            found = simulate(net, x, 7, engine=engine, options=EngineOptions(target="cython", batch_size=4))
            np.testing.assert_array_equal(found.outputs, expected.outputs)
            for name, counts in expected.spike_counts.items():
                np.testing.assert_array_equal(found.spike_counts[name], counts)
    finally:
        brian2.prefs["codegen.cpp.extra_compile_args"] = before
