"""NIR in and out: round trips, what the graph says without metadata, files of four simulators, files that cannot be taken."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir_files
import numpy as np
import pytest
from deployable import dense
from hypothesis import given, settings
from strategies import cases

import converters
import neuro
from converters.exporters import ExportOptions, export
from converters.exporters.to_nir import nir_graph
from converters.importers import LoadOptions, load_network
from neuro.encoding import with_encoder
from neuro.engines import Record, simulate
from neuro.errors import ConversionError, SpecError, UnsupportedModelError
from neuro.network import Leak, Population, Projection, SpikingNetwork

pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::neuro.engines.InputRangeWarning")
GOLDEN = nir_files.GOLDEN
T = 8


def spikes(value: Any, x: np.ndarray, n_steps: int = T, readout: str = "potential") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return {population: spikes (sample, step, neuron)} and outputs, by the reference engine."""
    network = getattr(value, "network", value)
    names = tuple(p.name for p in network.populations if p.spiking)
    recording = simulate(value, x, n_steps, engine="reference", readout=readout, record=Record(spikes=names))
    return dict(recording.spikes), recording.outputs


def assert_same(a: Any, b: Any, x: np.ndarray, n_steps: int = T, readout: str = "potential") -> None:
    (ours, out), (back, again) = spikes(a, x, n_steps, readout), spikes(b, x, n_steps, readout)
    assert ours.keys() == back.keys()
    for name in ours:
        assert np.array_equal(ours[name], back[name]), name
    np.testing.assert_allclose(again, out, rtol=1e-12, atol=1e-12)


def bare(graph: Any) -> Any:
    """Return the graph without any metadata, as a reader that knows NIR alone sees it."""
    graph.metadata = {}
    for node in graph.nodes.values():
        node.metadata = {}
    return graph


def integers(sizes: tuple[int, ...], reset: str = "subtract", v_init: float = 0.5, seed: int = 0) -> SpikingNetwork:
    """Return a network whose currents are whole numbers as well, so that NIR loses no rounding."""
    rng = np.random.default_rng(seed)
    populations, projections, before = [], [], "input"
    for i, n in enumerate(sizes[1:]):
        last, name = i == len(sizes) - 2, f"layer{i}"
        theta = rng.integers(20, 60, n).astype(float)
        bias = rng.integers(-5, 9, n).astype(float)
        fires: dict[str, Any] = {"v_threshold": theta, "v_init": np.floor(theta * v_init), "reset": reset}
        populations.append(Population(name, n, bias=bias, start=i, grid=1.0, **({"reset": None} if last else fires)))
        projections.append(Projection(before, name, rng.integers(-20, 31, (n, sizes[i])).astype(float), delay=0 if i == 0 else 1))
        before = name
    return SpikingNetwork(tuple(populations), tuple(projections), sizes[0], input_high=3.0)


# -- ours -> NIR -> ours ----------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(case=cases())
def test_round_trip_of_any_network_gives_the_same_spikes(case: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("nir")
    path = tmp_path_factory.mktemp("nir") / "network.nir"
    export(case.network, path, options=ExportOptions(lossy=True, n_steps=case.n_steps))
    back = load_network(path)
    readout = case.readout if case.readout in ("count", "first_spike") else "potential"
    assert_same(case.network, back, case.x, case.n_steps, readout)
    assert [(p.name, p.start, p.encoder) for p in back.populations] == [(p.name, p.start, p.encoder) for p in case.network.populations]


@pytest.mark.parametrize("form", ["structure", "if"])
@pytest.mark.parametrize("chip", ["", "loihi1"])
def test_round_trip_of_a_conversion_and_a_deployment(form: Any, chip: str, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    network = replace(dense([6, 9, 7, 4], per_neuron=not chip), classes=("a", "b", "c", "d"), info={"method": "by hand"})
    value = neuro.deploy(network, chip) if chip else network
    export(value, tmp_path / "a.nir", options=ExportOptions(lossy=True, n_steps=T, nir_form=form, nir_dt=1e-4))
    back = load_network(tmp_path / "a.nir")
    assert_same(value, back, np.random.default_rng(1).random((30, 6)))
    assert back.classes == network.classes and back.info["method"] == "by hand" and back.input_high == network.input_high


def test_what_is_read_is_written_again(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    export(dense([5, 6, 3]), tmp_path / "a.nir")
    export(load_network(tmp_path / "a.nir"), tmp_path / "b.nir")
    assert_same(load_network(tmp_path / "a.nir"), load_network(tmp_path / "b.nir"), np.random.default_rng(2).random((9, 5)))


def test_a_network_of_floats_keeps_its_leak_and_its_start(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    hidden = Population("hidden", 4, v_threshold=1.0, v_init=0.3, bias=np.full(4, 0.05), leak=Leak("exact", factor=0.9))
    output = Population("output", 2, reset=None, start=1, leak=Leak("exact", factor=0.8))
    rng = np.random.default_rng(3)
    weights = rng.normal(0.2, 0.4, (4, 3)), rng.normal(0, 1, (2, 4))
    network = SpikingNetwork((hidden, output), (Projection("input", "hidden", weights[0], 0), Projection("hidden", "output", weights[1])), 3)
    graph, lost, _ = nir_graph(network, ExportOptions())
    assert not lost and type(graph.nodes["hidden"]).__name__ == "LI"
    x = rng.random((20, 3))
    assert_same(network, load_network(graph), x)
    np.testing.assert_allclose(bare(graph).nodes["hidden_reset"].scale, -0.9)


# -- what the graph says without metadata -----------------------------------------------------------


@pytest.mark.parametrize("v_init", [0.0, 0.5])
@pytest.mark.parametrize("strict", [False, True])
def test_the_structure_alone_resets_by_subtraction_and_starts_at_v_init(v_init: float, strict: bool) -> None:
    pytest.importorskip("nir")
    network = integers((5, 8, 6, 3), v_init=v_init)
    if strict:
        network = replace(network, populations=tuple(replace(p, comparison=">") for p in network.populations))
    graph, lost, _ = nir_graph(network, ExportOptions())
    assert not lost
    assert {type(n).__name__ for n in graph.nodes.values()} == {"Input", "Output", "Affine", "I", "Threshold", "Scale"}
    x = np.random.default_rng(4).integers(0, 4, (25, 5)).astype(float)
    assert_same(network, load_network(bare(graph)), x)


def test_reset_to_zero_is_one_if_node() -> None:
    pytest.importorskip("nir")
    network = integers((5, 8, 3), reset="zero", v_init=0.0)
    graph, lost, _ = nir_graph(network, ExportOptions())
    assert not lost and type(graph.nodes["layer0"]).__name__ == "IF"
    assert_same(network, load_network(bare(graph)), np.random.default_rng(5).integers(0, 4, (25, 5)).astype(float))
    with pytest.raises(ConversionError, match="starts at v_init"):
        nir_graph(integers((5, 8, 3), reset="zero"), ExportOptions())


def test_a_skip_and_a_spike_coded_input_need_no_metadata() -> None:
    pytest.importorskip("nir")
    network = integers((5, 8, 6, 3))
    skip = Projection("layer0", "layer2", np.ones((3, 8)), delay=2)
    network = replace(network, projections=(*network.projections, skip))
    graph, lost, _ = nir_graph(network, ExportOptions())
    assert not lost
    x = np.random.default_rng(6).integers(0, 4, (25, 5)).astype(float)
    assert_same(network, load_network(bare(graph)), x)
    coded = with_encoder(network, "regular", 3.0)
    graph, lost, notes = nir_graph(coded, ExportOptions())
    assert not lost and any("regular encoder" in note for note in notes)
    assert_same(coded, load_network(graph), x)


def test_every_loss_is_named_and_refused_unless_allowed(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    network = integers((4, 5, 5, 2))
    a, b, out = network.populations
    changed = (
        replace(a, max_spikes=3, v_floor=-5.0),
        replace(b, refractory=2, leak=Leak("shift", shift=3), bias=np.ones((T, 5))),
        out,
    )
    network = replace(network, populations=changed)
    with pytest.raises(ConversionError) as refused:
        export(network, tmp_path / "a.nir", options=ExportOptions(n_steps=T))
    for word in ("3 spikes a step", "bounded", "refractory", "whole numbers (shift)", "in every step", "--lossy", "Nothing was written"):
        assert word in str(refused.value)
    assert not (tmp_path / "a.nir").exists()
    assert len(export(network, tmp_path / "a.nir", options=ExportOptions(n_steps=T, lossy=True)).lost) == 5
    with pytest.raises(ConversionError, match="reset by subtraction"):
        export(integers((4, 5, 2)), tmp_path / "b.nir", options=ExportOptions(nir_form="if"))


def test_bounds_that_cannot_be_reached_are_no_loss() -> None:
    pytest.importorskip("nir")
    network = integers((4, 5, 2))
    network = replace(network, populations=tuple(replace(p, v_floor=-1e6, v_ceiling=1e6) for p in network.populations))
    assert not nir_graph(network, ExportOptions(n_steps=T))[1]
    with pytest.raises(ConversionError, match="give n_steps"):
        nir_graph(network, ExportOptions())


def test_metadata_that_no_longer_fit_are_refused() -> None:
    pytest.importorskip("nir")
    graph, _, _ = nir_graph(integers((4, 5, 2)), ExportOptions())
    graph.nodes["layer0_spikes"].threshold += 3
    with pytest.raises(UnsupportedModelError, match="metadata disagree"):
        load_network(graph)


# -- files of other simulators ----------------------------------------------------------------------


def fired(network: SpikingNetwork, x: np.ndarray) -> np.ndarray:
    """Return the output's spikes, (n_samples, n_steps, n_out) bool."""
    found, _ = spikes(network, x, nir_files.N_STEPS, "count")
    shape = (len(x), nir_files.N_STEPS, network.output.size)
    result = np.zeros(shape, bool)
    result[tuple(found[network.output.name].T)] = True
    return result


@pytest.mark.parametrize("name", nir_files.MADE)
def test_a_simulators_file_gives_the_spikes_of_the_simulator(name: str) -> None:
    stored = np.load(GOLDEN / f"{name}.npz")
    network = load_network(GOLDEN / f"{name}.nir", options=LoadOptions(**nir_files.MADE[name][2]))
    assert stored["spikes"].any() and not stored["spikes"].all()
    assert np.array_equal(fired(network, stored["x"]), stored["spikes"])


@pytest.mark.slow
@pytest.mark.parametrize("name", nir_files.MADE)
def test_a_simulators_graph_gives_its_spikes_today(name: str) -> None:
    packages, make, options = nir_files.MADE[name]
    for package in ("nir", *packages):
        pytest.importorskip(package)
    graph, x, expected = make()
    assert np.array_equal(fired(load_network(graph, options=LoadOptions(**options)), x), expected.astype(bool))


def looped(back: Any, target: str = "a", delay: float = 0.0, source: str = "b") -> Any:
    """Return in -> w -> a -> b -> out with a loop from ``source`` through ``back``, and a Delay where there is one, to ``target``."""
    nir = pytest.importorskip("nir")
    n = np.ones(2)
    nodes = [
        ("in", nir.Input(np.array([2]))),
        ("w", nir.Affine(np.array([[1.0, 0.5], [-0.5, 1.0]]), np.array([0.1, 0.2]))),
        ("a", nir.IF(r=n, v_threshold=n)),
        ("b", nir.IF(r=n, v_threshold=n)),
        ("out", nir.Output(np.array([2]))),
        ("back", back),
        ("wait", nir.Delay(n * delay)),
    ]
    edges = [("in", "w"), ("w", "a"), ("a", "b"), ("b", "out"), (source, "back"), ("back", "wait"), ("wait", target)]
    return graph_of(*nodes, edges=edges)


def stepped(x: np.ndarray, back: np.ndarray, bias: np.ndarray, lag: int, of_a: bool, n_steps: int = T) -> np.ndarray:
    """Return b's spikes of the graph of ``looped``, step by step: what returns takes ``lag`` steps, its bias none."""
    v, u = np.zeros((2, len(x), 2))
    sent, out = [], []
    for k in range(n_steps):
        returned = sent[k - lag] @ back.T if k >= lag else 0
        v = v + x @ np.array([[1.0, 0.5], [-0.5, 1.0]]).T + [0.1, 0.2] + returned + bias
        a = v > 1
        v = np.where(a, 0, v)
        u = u + a
        b = u > 1
        u = np.where(b, 0, u)
        sent.append((a if of_a else b).astype(float))
        out.append(b)
    return np.stack(out, 1)


def test_a_loop_takes_the_steps_of_its_delay_or_one() -> None:
    nir = pytest.importorskip("nir")
    weight, bias, x = np.array([[0.0, -0.7], [0.4, -0.3]]), np.array([0.05, -0.02]), np.random.default_rng(9).random((20, 2))
    one, options = nir.Affine(weight, bias), LoadOptions(nir_dt=1.0)
    for source, delay, lag in (("a", 0.0, 1), ("a", 1.0, 1), ("a", 3.0, 3), ("b", 2.0, 2), ("b", 4.0, 4)):
        graph = looped(nir.Linear(weight) if delay else one, delay=delay, source=source)
        network = load_network(graph, options=options)
        found, _ = spikes(network, x, T, "count")
        expected = np.argwhere(stepped(x, weight, np.zeros(2) if delay else bias, lag, source == "a"))
        assert np.array_equal(found["b"], expected) and len(expected), (source, delay)
    # A loop may lead back to an affine node, whose own bias counts once.
    graph = looped(nir.Affine(np.linalg.solve([[1.0, 0.5], [-0.5, 1.0]], weight), np.zeros(2)), "w", source="a")
    found, _ = spikes(load_network(graph, options=options), x, T, "count")
    assert np.array_equal(found["b"], np.argwhere(stepped(x, weight, np.zeros(2), 1, True)))


def test_loops_that_no_step_loop_can_run_are_refused() -> None:
    nir = pytest.importorskip("nir")
    one, options = nir.Affine(np.eye(2), np.ones(2)), LoadOptions(nir_dt=1.0)
    for delay in (0.0, 1.0):
        with pytest.raises(UnsupportedModelError, match="'b' return to 'a' after 1 step, and every spike on the loop takes one step: 1 more"):
            load_network(looped(nir.Linear(np.eye(2)), delay=delay), options=options)
    with pytest.raises(UnsupportedModelError, match="put the bias behind the Delay"):
        load_network(looped(one, delay=2.0), options=options)
    with pytest.raises(UnsupportedModelError, match="must pass neurons"):
        load_network(looped(nir.Linear(np.eye(2)), "w", source="w"), options=options)
    with pytest.raises(UnsupportedModelError, match="another loop"):
        double = looped(nir.Linear(np.eye(2)), "w", source="a")
        double.nodes["turn"] = nir.Linear(np.eye(2))
        double.edges += [("w", "turn"), ("turn", "w")]
        load_network(double, options=options)


def test_graphs_of_very_many_loops_are_refused_at_once() -> None:
    nir = pytest.importorskip("nir")
    one, chain = np.ones(1), {f"a{i}": nir.Scale(np.ones(1)) for i in range(80)}
    nodes = {"in": nir.Input(np.array([1])), **chain, "f": nir.IF(r=one, v_threshold=one)}
    nodes |= {f"b{i}": nir.Scale(one) for i in range(600)} | {"out": nir.Output(np.array([1]))}
    names = list(nodes)
    for loops, words in ((100, "more than 5,000 nodes in all"), (600, "600 connections lead back")):
        edges = [*zip(names[:-1], names[1:], strict=True), *((f"b{i}", "a0") for i in range(loops))]
        with pytest.raises(UnsupportedModelError, match=words):
            load_network(nir.NIRGraph(nodes, edges, type_check=False))


def test_a_neuron_that_is_reset_by_feedback_may_hear_itself() -> None:
    pytest.importorskip("nir")
    network = integers((5, 8, 3))
    own = Projection("layer0", "layer0", np.diag(np.arange(-3.0, 5.0)), delay=1)
    network = replace(network, projections=(*network.projections, own))
    graph, lost, _ = nir_graph(network, ExportOptions())
    assert not lost
    assert_same(network, load_network(bare(graph)), np.random.default_rng(6).integers(0, 4, (25, 5)).astype(float))


def test_what_became_of_every_node_is_said() -> None:
    network = load_network(GOLDEN / "spikingjelly.nir", options=LoadOptions(**nir_files.MADE["spikingjelly"][2]))
    assert {part["node"]: part["becomes"] for part in network.info["nodes"]} == {
        "node 'input_1'  Input": "the input port, 1 x 4 x 4 values",
        "node '_0'  Conv2d": "part of input -> _1",
        "node '_1'  IF": "population '_1', 2 x 4 x 4 neurons",
        "node '_2'  AvgPool2d": "part of _1 -> _5",
        "node '_3'  Flatten": "nothing: it changes no value",
        "node '_4'  Affine": "part of _1 -> _5",
        "node '_5'  LIF": "population '_5', 5 neurons",
        "node 'output'  Output": "the answer: what its population gives",
    }


def test_nodes_of_loops_and_resets_are_said_too() -> None:
    nir = pytest.importorskip("nir")
    parts = load_network(looped(nir.Linear(np.eye(2)), delay=2.0), options=LoadOptions(nir_dt=1.0)).info["nodes"]
    said = {part["node"]: part["becomes"] for part in parts}
    assert said["node 'back'  Linear"] == "part of b -> a" and said["node 'wait'  Delay"] == "the delay of b -> a"
    graph, _, _ = nir_graph(integers((5, 8, 3)), ExportOptions())
    said = {part["node"]: part["becomes"] for part in load_network(graph).info["nodes"]}
    assert said["node 'layer0_spikes'  Threshold"] == "the threshold of 'layer0'"
    assert said["node 'layer0_reset'  Scale"] == "the reset by subtraction of 'layer0'"
    assert said["node 'output'  Output"] == "the answer: what its population gives"
    again, _, _ = nir_graph(load_network(graph), ExportOptions())
    assert "nodes" not in again.metadata["info"], "what became of another file's nodes is not written on"


def test_a_step_is_asked_for_not_guessed() -> None:
    with pytest.raises(UnsupportedModelError, match="nir_dt") as refused:
        load_network(GOLDEN / "spikingjelly.nir")
    assert "'_1'  IF" in str(refused.value) and "'_5'  LIF" in str(refused.value)


def test_the_engines_run_a_foreign_file_alike() -> None:
    stored = np.load(GOLDEN / "spikingjelly.npz")
    network = load_network(GOLDEN / "spikingjelly.nir", options=LoadOptions(**nir_files.MADE["spikingjelly"][2]))
    runs = [simulate(network, stored["x"], 6, engine=e, readout="count").neuron_counts for e in ("reference", "batched")]
    for name in runs[0]:
        assert np.array_equal(runs[0][name], runs[1][name])


# -- nodes ------------------------------------------------------------------------------------------


def graph_of(*nodes: tuple[str, Any], edges: Any = None) -> Any:
    nir = pytest.importorskip("nir")
    names = [name for name, _ in nodes]
    return nir.NIRGraph(dict(nodes), edges or list(zip(names[:-1], names[1:], strict=True)), type_check=False)


def test_convolution_pooling_and_subgraphs() -> None:
    nir = pytest.importorskip("nir")
    rng = np.random.default_rng(7)
    weight, bias = rng.normal(0, 1, (2, 1, 3, 3)), rng.normal(0, 1, 2)
    inner = graph_of(
        ("input", nir.Input(np.array([2, 6, 6]))),
        ("if", nir.IF(r=np.ones((2, 6, 6)), v_threshold=np.full((2, 6, 6), 0.8))),
        ("output", nir.Output(np.array([2, 6, 6]))),
    )
    graph = graph_of(
        ("in", nir.Input(np.array([1, 6, 6]))),
        ("conv", nir.Conv2d((6, 6), weight, 1, "same", 1, 1, bias)),
        ("cells", inner),
        ("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))),
        ("flat", nir.Flatten(np.array([2, 3, 3]), 0)),
        ("out", nir.Output(np.array([18]))),
    )
    network = load_network(graph)
    assert [(p.name, p.size) for p in network.populations] == [("cells.if", 72), ("output", 18)]
    x = rng.random((4, 36))
    v, total = np.zeros((4, 2, 6, 6)), np.zeros((4, 2, 3, 3))
    padded = np.pad(x.reshape(4, 6, 6), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    current = np.einsum("nijkl,ockl->noij", windows, weight) + bias[:, None, None]
    for _ in range(T):
        v += current
        z = v > 0.8
        v[z] = 0
        total += z.reshape(4, 2, 3, 2, 3, 2).sum((3, 5))
    np.testing.assert_allclose(spikes(network, x)[1], total.reshape(4, -1) / T, atol=1e-12)


def test_a_current_synapse_that_forgets_within_a_step_is_an_lif() -> None:
    nir = pytest.importorskip("nir")
    n = np.ones(3)
    cells = [
        nir.CubaLIF(tau_syn=n * 1e-3, tau_mem=n * 5e-3, r=n * 2, v_leak=n * 0, v_threshold=n * 0.5, w_in=n * 1.5),
        nir.LIF(tau=n * 5e-3, r=n * 3, v_leak=n * 0, v_threshold=n * 0.5),
    ]
    ends = ("in", nir.Input(np.array([3]))), ("out", nir.Output(np.array([3])))
    networks = [load_network(graph_of(ends[0], ("n", cell), ends[1]), options=LoadOptions(nir_dt=1e-3)) for cell in cells]
    assert_same(*networks, np.random.default_rng(8).random((10, 3)), readout="count")
    with pytest.raises(UnsupportedModelError, match="tau_syn"):
        load_network(graph_of(ends[0], ("n", cells[0]), ends[1]), options=LoadOptions(nir_dt=5e-4))


def test_delays_shift_windows_and_must_agree_where_paths_meet() -> None:
    nir = pytest.importorskip("nir")
    n = np.ones(2)
    nodes = [
        ("in", nir.Input(np.array([2]))),
        ("a", nir.IF(r=n, v_threshold=n)),
        ("d", nir.Delay(n * 3)),
        ("b", nir.IF(r=n, v_threshold=n)),
        ("out", nir.Output(np.array([2]))),
    ]
    network = load_network(graph_of(*nodes), options=LoadOptions(nir_dt=1.0))
    assert [(p.name, p.start) for p in network.populations] == [("a", 0), ("b", 4)]
    edges = [("in", "a"), ("a", "d"), ("a", "b"), ("d", "b"), ("b", "out")]
    with pytest.raises(UnsupportedModelError, match="different delays"):
        load_network(graph_of(*nodes, edges=edges), options=LoadOptions(nir_dt=1.0))


def test_everything_that_cannot_be_taken_is_named_at_once() -> None:
    nir = pytest.importorskip("nir")
    n = np.ones(2)
    graph = graph_of(
        ("in", nir.Input(np.array([2]))),
        ("leaky", nir.LIF(tau=np.array([0.1, 0.2]), r=n, v_leak=n * 0, v_threshold=n)),
        ("inside", nir.I(r=n)),
        ("below", nir.IF(r=n, v_threshold=-n)),
        ("out", nir.Output(np.array([2]))),
    )
    with pytest.raises(UnsupportedModelError) as refused:
        load_network(graph, options=LoadOptions(nir_dt=0.01))
    assert "'leaky'  LIF" in str(refused.value) and "differ from neuron to neuron" in str(refused.value)
    graph = graph_of(("in", nir.Input(np.array([2]))), ("i", nir.I(r=n)), ("f", nir.IF(r=n, v_threshold=-n)), ("out", nir.Output(np.array([2]))))
    with pytest.raises(UnsupportedModelError, match="populations send spikes"):
        load_network(graph)


def test_load_gives_the_spiking_network_that_a_file_or_a_graph_holds() -> None:
    options = LoadOptions(nir_dt=1e-4)
    network = converters.load(GOLDEN / "snntorch.nir", options=options)
    assert isinstance(network, SpikingNetwork) and converters.load(network) is network
    assert network.sha256 == converters.load(str(GOLDEN / "snntorch.nir"), options=options).sha256 == load_network(network).sha256
    with pytest.raises(UnsupportedModelError, match="'spikeport run'.*nothing to convert|nothing to convert.*'spikeport run'"):
        converters.load_mlp(GOLDEN / "snntorch.nir", options=options)
    with pytest.raises(ConversionError, match="nothing to convert"):
        converters.convert(network, calibration=np.ones((4, 5)))
    with pytest.raises(UnsupportedModelError, match="convert it first"):
        load_network({"W0": np.ones((3, 2)), "b0": np.zeros(3)}, options=LoadOptions(orientation="out_in"))
    with pytest.raises(SpecError, match="mean"):
        load_network(GOLDEN / "snntorch.nir", options=LoadOptions(nir_dt=1e-4, mean=(0.5,)))
    with pytest.raises(SpecError, match="nir_dt"):
        converters.load({"W0": np.ones((3, 2)), "b0": np.zeros(2)}, options=LoadOptions(nir_dt=1e-4))


# -- damaged files ----------------------------------------------------------------------------------

FUZZ = """
import collections, pathlib, sys, time
import numpy as np
from converters.importers import LoadOptions, load_network
from neuro.errors import SpikeportError

sources, path, rounds = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).glob("*.nir"))], pathlib.Path(sys.argv[2]), int(sys.argv[3])
count, slowest = collections.Counter(), 0.0
for i in range(rounds):
    rng = np.random.default_rng(i)
    data = bytearray(sources[i % len(sources)])
    for _ in range(rng.integers(1, 8)):
        at, kind = rng.integers(len(data)), rng.integers(4)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            del data[at : at + rng.integers(1, 40)]
        else:
            other = rng.integers(len(data))
            data[at : at + 16] = data[other : other + 16]
    path.write_bytes(data)
    began = time.process_time()
    try:
        load_network(path, options=LoadOptions(nir_dt=1e-4))
        count["read"] += 1
    except SpikeportError as error:
        count["refused"] += 1
    slowest = max(slowest, time.process_time() - began)
# Not ru_maxrss, which starts at what the parent held when it made this process.
status = pathlib.Path("/proc/self/status")
peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM 0") if status.exists() else "VmHWM 0"
memory = int(peak.split()[1]) / 1024
print(f"{rounds} damaged files, {dict(count)}, slowest {slowest:.2f} s, {memory:.0f} MB")
assert memory < 500
"""


def fuzz(tmp_path: Path, rounds: int) -> None:
    # In a process of its own: the HDF5 library could crash or hang on damaged bytes.
    command = [sys.executable, "-c", FUZZ, str(GOLDEN), str(tmp_path / "damaged.nir"), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, cwd=Path(__file__).parents[2])
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, 500)


@pytest.mark.slow
def test_many_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, 10_000)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"not HDF5 at all"])
def test_what_is_no_nir_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nir").write_bytes(content)
    with pytest.raises(UnsupportedModelError):
        load_network(tmp_path / "a.nir")
    with pytest.raises(UnsupportedModelError, match="no such file"):
        load_network(tmp_path / "b.nir")
