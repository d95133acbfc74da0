"""Counts of a run equal counts made spike by spike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from accounting import dense, placed
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import Case, cases

from neuro.activity import activity
from neuro.engines import Record, simulate
from neuro.errors import SpecError
from neuro.network import INPUT, SpikingNetwork
from neuro.neurobench import connection_sparsity, footprint, neurobench
from neuro.readout import EarlyExit, Readout
from neuro.recording import Recording
from neuro.validation import assumed

RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


def recorded(case: Case) -> Recording:
    spiking = tuple(p.name for p in case.network.populations if p.spiking)
    record = Record(spikes=spiking, samples=tuple(range(len(case.x))))
    readout = Readout(kind=case.readout, start=2 if case.readout == "delayed" else 0)
    return simulate(case.network, case.x, case.n_steps, engine="reference", readout=readout, seed=case.seed, record=record)


def synapses(network: SpikingNetwork, name: str) -> np.ndarray:
    """(n_post, n_pre) bool: where a synapse is stored."""
    weight = next(j.weight for j in network.projections if j.name == name)
    if sp.issparse(weight):
        ones = sp.csr_array((np.ones(weight.nnz), weight.indices, weight.indptr), weight.shape)
        return np.asarray(ones.toarray() > 0)
    return np.ones(weight.shape, bool)


@settings(max_examples=40, **RELAXED)
@given(case=cases())
def test_counts_equal_those_made_spike_by_spike(case: Case) -> None:
    network, rec = case.network, recorded(case)
    deployment = placed(network)
    act = activity(rec, deployment)
    n, positions = len(case.x), case.x.shape[1] if case.x.ndim == 3 else 1
    steps = positions * case.n_steps + network.depth - 1
    assert act.n_inferences == n and act.steps_single == n * steps
    assert act.steps_pipelined == n * positions * case.n_steps
    cores = act.cores
    assert cores is not None and act.traffic is not None
    where = {p.name: deployment.placement.core_of_neuron(p.name) for p in network.populations}
    synops = {j.name: 0 for j in network.projections if j.pre != INPUT}
    at_core = {name: np.zeros(cores.n_cores) for name in rec.spike_counts}
    arriving = {name: np.zeros(cores.n_cores) for name in rec.spike_counts}
    messages = dict.fromkeys(rec.spike_counts, 0)
    hops = dict.fromkeys(rec.spike_counts, 0)
    last_window = (positions - 1) * case.n_steps
    for name, table in rec.spikes.items():
        assert act[name].spikes == len(table)
        for j in network.outgoing(name):
            stored = synapses(network, j.name)
            for _, step, neuron in table:
                late = step % case.n_steps + network.lag(j) >= case.n_steps  # over a loop, after the window has ended
                if late or (j.delay == "window" and step >= last_window):
                    continue
                targets = np.flatnonzero(stored[:, neuron])
                synops[j.name] += len(targets)
                homes = where[j.post][targets]
                np.add.at(at_core[name], homes, 1)
                reached = np.unique(homes)
                arriving[name][reached] += 1
                messages[name] += len(reached)
                if not network[name].encoder:
                    here = deployment.placement.cores[where[name][neuron]]
                    for core in (deployment.placement.cores[c] for c in reached):
                        hops[name] += abs(core.x - here.x) + abs(core.y - here.y)
    for p in act.populations:
        assert p.synaptic_operations == {k: v for k, v in synops.items() if k.endswith(f"->{p.name}")}
    dropped = network.recurrent or network.looped
    for name in rec.spike_counts:
        if dropped:  # which neurons fired last, with spikes that arrive nowhere, is not recorded: exact in sum alone
            assert cores.synaptic_operations[name].sum() == pytest.approx(at_core[name].sum())
            continue
        np.testing.assert_allclose(cores.synaptic_operations[name], at_core[name])
        np.testing.assert_allclose(cores.messages_in[name], arriving[name])
        assert act.traffic[name].messages == pytest.approx(messages[name])
        if not network[name].encoder:
            assert act.traffic[name].hops == pytest.approx(hops[name])
            assert cores.messages_out[name].sum() == pytest.approx(messages[name])
            assert cores.spikes[name].sum() == act[name].spikes


@pytest.mark.parametrize("threshold", [1.0, 8.0, 16.0])
def test_early_exit_counts_what_was_run_up_to_the_decision(threshold: float) -> None:
    network = dense((6, 12, 9, 4))
    x = np.random.default_rng(0).random((40, 6))
    rec = simulate(network, x, 8, engine="reference", early_exit=EarlyExit(threshold=threshold))
    assert (rec.decided_at < 8).any()
    act = activity(rec, network)
    assert act.steps_single == sum(int(d) + 2 for d in rec.decided_at)
    assert act.steps_pipelined == sum(min(8, int(d) + 2) for d in rec.decided_at)
    assert act.steps_window == rec.decided_at.sum()
    assert act["output"].output_reads == 4 * rec.decided_at.sum()  # the running answer is read in every step
    assert act.spikes == sum(int(n.sum()) for n in rec.neuron_counts.values())


@settings(max_examples=30, **RELAXED)
@given(case=cases())
def test_a_recording_suffices_for_the_basic_counts(case: Case) -> None:
    rec = recorded(case)
    alone, whole = activity(rec), activity(rec, case.network)
    for a, b in zip(alone.populations, whole.populations, strict=True):
        keep = {"bias_switches": 0, "bias_rows": 0, "leaky": False}
        assert replace(a, **keep) == replace(b, **keep)
    assert alone.steps_single == whole.steps_single and alone.neurobench is None


def test_hand_check_of_the_constant_current_layer() -> None:
    network = dense((390, 256, 29))
    act = activity(assumed(network, 0.1, 10), network)
    assert act.input_macs == 99_840 and act.input_macs_every_step == 998_400
    assert act["hidden1"].input_writes == 256 and act["output"].output_reads == 29
    assert act["output"].bias_switches == 2 * 29 and act["hidden1"].bias_switches == 0
    assert act.spike_rate == pytest.approx(0.1) and act.spikes_per_synapse == pytest.approx(1.0)


def test_a_spike_coded_input_costs_its_spikes_times_its_fan_out() -> None:
    network = dense((390, 256, 29), encoder="regular")
    act = activity(assumed(network, 0.1, 10), placed(network))
    assert act.input_macs == 0
    assert act["encoder"].input_writes == act["encoder"].spikes == 390
    assert not act["encoder"].on_chip and act.updates(act["encoder"], "single") == 0
    assert act["hidden1"].synops == 390 * 256
    assert act.depth == 3 and act.steps_single == 12


def test_a_bias_for_every_step_is_written_in_every_step() -> None:
    network = dense((4, 5, 3))
    hidden = replace(network["hidden1"], bias=np.arange(35.0).reshape(7, 5))
    network = replace(network, populations=(hidden, *network.populations[1:]))
    act = activity(assumed(network, 0.2, 7), network)
    assert act["hidden1"].bias_rows == 7 * 5 and act["hidden1"].bias_switches == 0


def test_a_recording_of_another_network_is_refused() -> None:
    rec, other = assumed(dense((4, 5, 3)), 0.2, 5), dense((4, 5, 3), seed=1)
    for network in (other, placed(other)):
        with pytest.raises(SpecError, match="not of this one"):
            activity(rec, network)
    with pytest.raises(SpecError, match="does not belong"):
        neurobench(rec, other)
    with pytest.raises(SpecError, match="says nothing of its network"):
        activity(replace(rec, info={}))


def test_unknown_populations_are_named() -> None:
    act = activity(assumed(dense((4, 5, 3)), 0.2, 5))
    with pytest.raises(SpecError, match="hidden1, output"):
        act["hidden9"]


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0, 3), n_steps=st.integers(1, 60))
def test_scaling_keeps_the_rate_a_step(rate: float, n_steps: int) -> None:
    network = dense((6, 12, 9, 4))
    act = activity(assumed(network, 0.25, 8), placed(network))
    other = act.scaled(rate=rate, n_steps=n_steps)
    assert other.spike_rate == pytest.approx(rate * act.spike_rate)
    assert other.steps_single == n_steps + act.depth - 1 and other.steps_pipelined == n_steps
    assert other.synaptic_operations == pytest.approx(act.synaptic_operations * rate * n_steps / 8)
    assert other["hidden1"].input_writes == act["hidden1"].input_writes
    for share in other.profile.values():
        assert share.sum() == pytest.approx(1.0) and len(share) == n_steps
    back = other.scaled(rate=1 / rate, n_steps=8) if rate else act
    assert back.synaptic_operations == pytest.approx(act.synaptic_operations)


@settings(max_examples=40, **RELAXED)
@given(case=cases())
def test_neurobench_counts_equal_its_definitions(case: Case) -> None:
    network = case.network
    assume(all(p.max_spikes == 1 for p in network.populations) and not network.recurrent and not network.looped)
    rec = recorded(case)
    view = neurobench(rec, network, case.x)
    x = case.x.reshape(len(case.x), -1, network.input_size)
    macs = acs = totals = zeros = weights = 0.0
    for j in network.projections:
        if network[j.post].encoder:
            continue
        w = j.weight.toarray() if sp.issparse(j.weight) else j.weight
        stored = synapses(network, j.name)
        totals += stored.sum() * case.n_steps * x.shape[1]
        weights += stored.sum()
        zeros += (stored & (w == 0)).sum()
        if j.pre == INPUT:
            count = sum(int(np.count_nonzero((w != 0) & (row != 0))) for sample in x for row in sample) * case.n_steps
            binary = np.isin(x, (-1, 0, 1)).all()
            acs += count if binary else 0
            macs += 0 if binary else count
        else:
            acs += sum(int((w[:, neuron] != 0).sum()) for _, _, neuron in rec.spikes[j.pre])
    n = len(x)
    assert view.effective_macs == pytest.approx(macs / n) and view.effective_acs == pytest.approx(acs / n)
    assert view.dense == pytest.approx(totals)
    assert view.effective_macs_once == pytest.approx(macs / n / case.n_steps)
    assert view.connection_sparsity == pytest.approx(zeros / weights)
    hidden = [p for p in network.populations if p.spiking and not p.encoder]
    activations = n * x.shape[1] * case.n_steps * sum(p.size for p in hidden)
    sent = sum(len(rec.spikes[p.name]) for p in hidden)
    assert view.activation_sparsity == pytest.approx(1 - sent / activations if activations else 0.0)
    assert view.membrane_updates is None and any("membrane_updates" in m for m in view.missing)


def test_neurobench_without_inputs_names_what_is_missing() -> None:
    network = dense((4, 5, 3))
    rec = simulate(network, np.random.default_rng(0).random((6, 4)), 5, engine="reference")
    view = neurobench(rec, network)
    assert view.effective_macs is None and view.effective_macs_once is None
    assert any("inputs=" in m for m in view.missing)
    with pytest.raises(SpecError, match="inputs have shape"):
        neurobench(rec, network, np.zeros((5, 4)))


def test_equal_to_the_neurobench_package() -> None:
    """The same integer network as a torch module, spikes identical, metrics identical."""
    torch = pytest.importorskip("torch")
    snn = pytest.importorskip("snntorch")
    pytest.importorskip("neurobench")
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload.activation_sparsity import ActivationSparsity
    from neurobench.metrics.workload.membrane_updates import MembraneUpdates
    from neurobench.metrics.workload.synaptic_operations import SynapticOperations
    from neurobench.models import SNNTorchModel

    rng = np.random.default_rng(3)
    network = dense((6, 12, 9, 4))
    # snntorch subtracts at most once a step, so the potential must not reach twice the threshold.
    populations = tuple(
        replace(p, v_init=0.0, comparison=">", v_threshold=t) for p, t in zip(network.populations, (500.0, 200.0, None), strict=True)
    )
    projections = tuple(replace(j, weight=np.where(rng.random(j.weight.shape) < 0.3, 0.0, j.weight)) for j in network.projections)
    network = replace(network, populations=populations, projections=projections)
    x, n_steps = rng.integers(0, 5, (7, 6)).astype(float), 6
    record = Record(potentials=("hidden1", "hidden2"), samples=tuple(range(len(x))))
    rec = simulate(replace(network, input_high=5.0), x, n_steps, engine="reference", record=record)
    network = replace(network, input_high=5.0)
    view = neurobench(rec, network, x)

    class Module(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList()
            for j in network.projections:
                layer = torch.nn.Linear(j.weight.shape[1], j.weight.shape[0])
                layer.weight.data = torch.tensor(j.weight, dtype=torch.float32)
                layer.bias.data = torch.tensor(network[j.post].bias, dtype=torch.float32)
                self.layers.append(layer)
            kind = {"beta": 1.0, "reset_mechanism": "subtract", "reset_delay": False, "init_hidden": True}
            self.neurons = torch.nn.ModuleList([snn.Leaky(threshold=t, **kind) for t in (500.0, 200.0)])
            self.sent = [0, 0]

        def forward(self, x):  # type: ignore[no-untyped-def]
            for i, neuron in enumerate(self.neurons):
                x = neuron(self.layers[i](x))
                self.sent[i] += int(x.sum())
            return self.layers[-1](x), None

    module = Module()
    model = SNNTorchModel(module)
    model.register_hooks()
    data = torch.tensor(np.repeat(x[:, None], n_steps, axis=1), dtype=torch.float32)
    with torch.no_grad():
        answers = model(data)
    assert module.sent == [int(rec.spike_counts[f"hidden{i}"].sum()) for i in (1, 2)]  # the same spikes
    batch = (data, torch.zeros(len(x)))
    theirs = SynapticOperations()(model, answers, batch)
    assert view.effective_macs == pytest.approx(theirs["Effective_MACs"])
    assert view.effective_acs == pytest.approx(theirs["Effective_ACs"])
    assert view.dense == pytest.approx(theirs["Dense"])
    assert view.activation_sparsity == pytest.approx(ActivationSparsity()(model, answers, batch))
    assert view.membrane_updates == pytest.approx(MembraneUpdates()(model, answers, batch))
    assert round(view.connection_sparsity, 4) == ConnectionSparsity()(model)
    # Their footprint holds the buffers of snntorch's neurons (beta, threshold, ...) beside weights and biases.
    weights = sum(j.weight.size + network[j.post].size for j in network.projections) * 4
    buffers = sum(b.numel() * b.element_size() for b in module.buffers())
    assert Footprint()(model) == weights + buffers
    assert footprint(network, 32) == weights + 2 * 4  # two scalar thresholds
    # Ours beside it: the constant current counted once.
    assert view.effective_macs_once == pytest.approx(view.effective_macs / n_steps)


def test_sparse_and_deployed_footprints() -> None:
    network = dense((4, 5, 3))
    assert connection_sparsity(network) == 0.0
    assert footprint(network, 8) == 4 * 5 + 5 * 3 + 5 + 3 + 1
