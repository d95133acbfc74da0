"""Every engine gives the spikes of the reference, to the last one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import Case, cases

from neuro.engines import ENGINES, EngineOptions, Record, simulate
from neuro.errors import EngineError, NetworkError
from neuro.faults import SpikeFaults
from neuro.network import Population, Projection, Protocol, SpikingNetwork
from neuro.readout import EarlyExit, Readout
from neuro.recording import GROUPS, Recording

FASTER = sorted(set(ENGINES) - {"reference"})
RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


def run(
    case: Case,
    engine: str,
    options: EngineOptions | None = None,
    early_exit: EarlyExit | None = None,
    faults: SpikeFaults | None = None,
) -> Recording:
    names = tuple(p.name for p in case.network.populations)
    spiking = tuple(p.name for p in case.network.populations if p.spiking)
    neurons = tuple(p.name for p in case.network.populations if p.encoder is None)
    assert names
    if early_exit is not None:
        neurons = ()
    record = Record(potentials=neurons, spikes=spiking, samples=tuple(range(min(3, len(case.x)))), rates=4)
    readout = Readout(kind=case.readout, start=2 if case.readout == "delayed" else 0)
    return simulate(
        case.network,
        case.x,
        case.n_steps,
        engine=engine,
        readout=readout,
        record=record,
        seed=case.seed,
        options=options,
        early_exit=early_exit,
        faults=faults,
    )


def assert_same(a: Recording, b: Recording) -> None:
    for name in ("outputs", "predictions", "predictions_at", "tied", "decided_at", "sequence_outputs"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for group in GROUPS:
        assert getattr(a, group).keys() == getattr(b, group).keys()
        for key, value in getattr(a, group).items():
            np.testing.assert_array_equal(value, getattr(b, group)[key], err_msg=f"{group} {key}")


def refused(case: Case, engine: str) -> bool:
    """Whether an engine must refuse the case: Synapses cannot carry graded spikes over more than one step."""
    network = case.network
    graded = {p.name for p in network.populations if p.max_spikes > 1 or p.signed}
    return engine == "synapses" and any(j.pre in graded and j.delay != 1 for j in network.projections)


@pytest.mark.parametrize("engine", FASTER)
@settings(max_examples=15, **RELAXED)
@given(case=cases())
def test_engine_gives_the_spikes_of_the_reference(engine: str, case: Case) -> None:
    if refused(case, engine):
        with pytest.raises(EngineError, match="use 'batched' or 'reference'"):
            run(case, engine)
    else:
        assert_same(run(case, engine), run(case, "reference"))


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(batch_size=1),
        pytest.param(EngineOptions(batch_size=7), marks=pytest.mark.slow),
        pytest.param(EngineOptions(batch_size=64), marks=pytest.mark.slow),
        EngineOptions(batch_size=1000),
        EngineOptions(kernel="scipy"),
        EngineOptions(neurons="brian2"),
        EngineOptions(delivery="dense"),
        pytest.param(EngineOptions(delivery="events"), marks=pytest.mark.slow),
        EngineOptions(dt=1e-4),
        pytest.param(EngineOptions(dt=2e-4), marks=pytest.mark.slow),
        pytest.param(EngineOptions(dt=5e-4), marks=pytest.mark.slow),
    ],
    ids=str,
)
@settings(max_examples=8, **RELAXED)
@given(case=cases())
def test_options_change_no_spike(options: EngineOptions, case: Case) -> None:
    assert_same(run(case, "batched", options), run(case, "reference"))


@settings(max_examples=12, **RELAXED)
@given(
    case=cases(recurrent=False),
    exit_rule=st.builds(
        EarlyExit,
        threshold=st.sampled_from([0.0, 0.6, 3.0, 20.0]),
        measure=st.sampled_from(["margin", "softmax"]),
        min_steps=st.integers(1, 3),
    ),
    batch=st.sampled_from([1, 2, 7]),
)
def test_early_exit_answers_what_the_full_run_would_have(case: Case, exit_rule: EarlyExit, batch: int) -> None:
    early = run(case, "batched", EngineOptions(batch_size=batch), exit_rule)
    assert_same(early, run(case, "reference", early_exit=exit_rule))
    full = run(case, "reference")
    if full.predictions_at is None:  # the encoding depends on T: a shorter run is another one
        return
    for sample, step in enumerate(early.decided_at):
        assert early.predictions[sample] == full.predictions_at[step - 1, sample]
        assert (early.predictions_at[:step, sample] == full.predictions_at[:step, sample]).all()


FAULTY = st.builds(
    SpikeFaults, lost=st.sampled_from([0.0, 0.1, 1.0]), spurious=st.sampled_from([0.0, 0.05, 1.0]), seed=st.integers(0, 99)
)


@pytest.mark.parametrize("engine", FASTER)
@settings(max_examples=10, **RELAXED)
@given(case=cases(), faults=FAULTY, batch=st.sampled_from([1, 3, 1000]))
def test_engines_lose_and_add_the_same_spikes(engine: str, case: Case, faults: SpikeFaults, batch: int) -> None:
    graded = any(p.max_spikes > 1 or p.signed for p in case.network.populations)
    if engine == "synapses" and graded and (faults.lost or faults.spurious):
        with pytest.raises(EngineError, match="cannot lose or add burst or signed spikes.*use 'batched' or 'reference'"):
            run(case, engine, faults=faults)
    elif not refused(case, engine):
        options = EngineOptions(batch_size=batch)
        assert_same(run(case, engine, options, faults=faults), run(case, "reference", faults=faults))


@settings(max_examples=8, **RELAXED)
@given(case=cases(recurrent=False), faults=FAULTY, batch=st.sampled_from([1, 7]))
def test_early_exit_changes_no_fault(case: Case, faults: SpikeFaults, batch: int) -> None:
    rule = EarlyExit(threshold=0.6, min_steps=1)
    early = run(case, "batched", EngineOptions(batch_size=batch), rule, faults)
    assert_same(early, run(case, "reference", early_exit=rule, faults=faults))


def test_early_exit_frees_its_slot() -> None:
    """With every sample decided at its first step, a slot takes a new sample every L steps instead of every T."""
    network = chain(depth=3)
    x = np.random.default_rng(0).random((40, 6))
    rule = EarlyExit(threshold=-1.0)
    options = EngineOptions(batch_size=4)
    early = simulate(network, x, 50, early_exit=rule, options=options)
    full = simulate(network, x, 50, options=options)
    assert (early.decided_at == 1).all()
    assert early.info["brian2_steps"] == 10 * network.depth
    assert full.info["brian2_steps"] == 10 * 50 + network.depth - 1


def chain(depth: int, size: int = 6) -> SpikingNetwork:
    rng = np.random.default_rng(7)
    populations, projections, pre = [], [], "input"
    for layer in range(depth - 1):
        populations.append(Population(f"hidden{layer + 1}", size, 60.0, v_init=30.0, start=layer, grid=1.0))
        weight = rng.integers(-20, 40, (size, size)).astype(float)
        projections.append(Projection(pre, f"hidden{layer + 1}", weight, min(layer, 1)))
        pre = f"hidden{layer + 1}"
    populations.append(Population("output", 3, reset=None, start=depth - 1, grid=1.0))
    projections.append(Projection(pre, "output", rng.integers(-40, 40, (3, size)).astype(float), 1))
    return SpikingNetwork(tuple(populations), tuple(projections), size)


def test_a_sequence_equals_the_network_unrolled_over_it() -> None:
    """A recurrent network of S inputs is a feed-forward one of S copies, every copy fed by the one before it."""
    rng = np.random.default_rng(3)
    n_in, size, n_out, n_positions, n_steps = 4, 7, 3, 4, 6
    w, u, out = (rng.integers(-30, 40, shape).astype(float) for shape in ((size, n_in), (size, size), (n_out, size)))
    hidden = Population("hidden1", size, 50.0, v_init=25.0, grid=1.0)
    output = Population("output", n_out, reset=None, start=1, grid=1.0)
    recurrent = SpikingNetwork(
        (hidden, output),
        (Projection("input", "hidden1", w, 0), Projection("hidden1", "hidden1", u, "window"), Projection("hidden1", "output", out)),
        n_in,
    )
    copies, joins = [], []
    for s in range(n_positions):
        copies.append(Population(f"copy{s}", size, 50.0, v_init=25.0, start=s, grid=1.0))
        block = np.zeros((size, n_in * n_positions))
        block[:, s * n_in : (s + 1) * n_in] = w
        joins.append(Projection("input", f"copy{s}", block, 0))
        if s:
            joins.append(Projection(f"copy{s - 1}", f"copy{s}", u, 1))
    copies.append(Population("output", n_out, reset=None, start=n_positions, grid=1.0))
    joins.append(Projection(f"copy{n_positions - 1}", "output", out, 1))
    unrolled = SpikingNetwork(tuple(copies), tuple(joins), n_in * n_positions)
    x = rng.random((5, n_positions, n_in))
    for engine in ENGINES:
        a = simulate(recurrent, x, n_steps, engine=engine)
        b = simulate(unrolled, x.reshape(5, -1), n_steps, engine=engine)
        np.testing.assert_array_equal(a.outputs, b.outputs)
        total = sum(b.spike_counts[f"copy{s}"] for s in range(n_positions))
        np.testing.assert_array_equal(a.spike_counts["hidden1"], total)
        assert a.spike_counts["hidden1"].min() > 0


def loop(delay: int, starts: tuple[int, int] = (0, 1), back: str = "a") -> SpikingNetwork:
    """Two neurons in a row that fire at every spike, and a projection from the second back to ``back``."""
    a, b = (Population(name, 1, 10.0, start=start, grid=1.0) for name, start in zip("ab", starts, strict=True))
    output = Population("output", 1, reset=None, start=starts[1] + 1, grid=1.0)
    ten = np.array([[10.0]])
    joins = [Projection("input", "a", ten, 0), Projection("a", "b", ten, starts[1] - starts[0]), Projection("b", "output", ten)]
    return SpikingNetwork((a, b, output), (*joins, Projection("b", back, -ten, delay)), 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("delay", "back", "lag"), [(1, "b", 1), (3, "b", 3), (1, "a", 2), (2, "a", 3), (9, "b", 9)])
def test_a_loop_returns_spikes_within_the_window_of_their_sample(engine: str, delay: int, back: str, lag: int) -> None:
    """Every spike takes ten off what fires ``lag`` steps later; nothing is returned in the first steps, nor to the next sample."""
    n_steps, network = 7, loop(delay, back=back)
    assert [network.lag(j) for j in network.projections] == [0, 0, 0, lag] and network.looped
    sent, debt = np.zeros(n_steps, int), 0
    for k in range(n_steps):
        debt += sent[k - lag] if k >= lag else 0
        # One spike comes in every step, unless the loop has inhibited it.
        sent[k], debt = (0, debt - 1) if debt else (1, 0)
    x, record = np.ones((5, 1)), Record(spikes=("b",))
    recording = simulate(network, x, n_steps, engine=engine, record=record, options=EngineOptions(batch_size=2))
    expected = [(sample, k, 0) for sample in range(5) for k in range(n_steps) if sent[k]]
    assert recording.spikes["b"].tolist() == [list(row) for row in expected]
    arrived = sent[: max(n_steps - lag, 0)].sum()
    assert (recording.synaptic_operations[f"b->{back}"] == arrived).all(), "what comes after the window is dropped"


def test_windows_that_do_not_fit_are_refused_on_loops_and_off() -> None:
    network = loop(1)
    forward = replace(network.projections[1], delay=2)
    with pytest.raises(NetworkError, match=r"projection a->b: b.start = 1, expected a.start \+ delay = 0 \+ 2"):
        replace(network, projections=(network.projections[0], forward, *network.projections[2:]))
    with pytest.raises(NetworkError, match=r"output.start = 1, expected b.start \+ delay = 1 \+ 1"):
        # On no loop, a wrong start stays a mistake.
        replace(network, populations=(*network.populations[:2], replace(network.output, start=1)))
    with pytest.raises(NetworkError, match="b->a occurs 2 times"):
        replace(network, projections=(*network.projections, network.projections[-1]))
    with pytest.raises(NetworkError, match="returns spikes within the window"):
        replace(network, protocol=Protocol("srp", 4))


@pytest.mark.parametrize("comparison", [">=", ">"])
@settings(max_examples=4, **RELAXED)
@given(
    # Twelve neurons at a time: a run costs far more than a neuron.
    neurons=st.lists(st.tuples(st.integers(1, 200), st.integers(-300, 600), st.floats(0, 1, exclude_max=True)), min_size=12, max_size=12),
    n_steps=st.integers(1, 40),
)
def test_one_population_fires_as_often_as_the_closed_form_says(
    comparison: str, neurons: list[tuple[int, int, float]], n_steps: int
) -> None:
    theta, drive = (np.array([n[i] for n in neurons], np.int64) for i in (0, 1))
    v_init = np.floor(theta * [n[2] for n in neurons]).astype(np.int64)
    size = len(neurons)
    network = SpikingNetwork(
        (
            Population("hidden1", size, theta.astype(float), v_init=v_init.astype(float), comparison=comparison, grid=1.0),
            Population("output", 1, reset=None, start=1, grid=1.0),
        ),
        (Projection("input", "hidden1", np.diag(drive).astype(float), 0), Projection("hidden1", "output", np.ones((1, size)))),
        size,
    )
    total = v_init + drive * n_steps
    expected = np.clip(total // theta if comparison == ">=" else -(-total // theta) - 1, 0, n_steps)
    for engine in ENGINES:
        recording = simulate(network, np.ones((2, size)), n_steps, engine=engine)
        assert recording.neuron_counts["hidden1"].tolist() == (2 * expected).tolist()


def test_reset_to_zero_keeps_what_arrives_in_the_step_of_a_spike() -> None:
    """A spike at step t and an arrival at step t + 1 must not wipe each other: v is exactly the arrival."""
    network = SpikingNetwork(
        (
            Population("hidden1", 1, 10.0, reset="zero", grid=1.0),
            Population("hidden2", 1, 10.0, reset="zero", bias=np.array([4.0]), start=1, grid=1.0),
            Population("output", 1, reset=None, start=2, grid=1.0),
        ),
        (
            Projection("input", "hidden1", np.array([[10.0]]), 0),
            Projection("hidden1", "hidden2", np.array([[7.0]]), 1),
            Projection("hidden2", "output", np.ones((1, 1)), 1),
        ),
        1,
    )
    record = Record(potentials=("hidden2",), samples=(0,))
    for engine in ENGINES:
        recording = simulate(network, np.ones((1, 1)), 5, engine=engine, record=record)
        # 4 + 7 = 11 fires and resets to 0 in every step; nothing of the 11 is left and no later 11 is lost.
        assert recording.potentials["hidden2"][0, :, 0].tolist() == [0.0] * 5
        assert recording.spike_counts["hidden2"].tolist() == [5]
