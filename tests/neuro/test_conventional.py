"""The ANN's side: operations, precision, weight traffic, published machines, rivals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.conventional import ConventionalOptions, conventional, designs
from neuro.digital import AnnWork, DigitalOptions, MatrixWork, ann_work, design
from neuro.errors import SpecError, UnsupportedModelError
from neuro.machines import machines, measure
from neuro.rivals import activation_bits_of, best_ceiling, quantise_network, quantise_unsigned, rivals

Array = np.ndarray
NODES = st.sampled_from(["cmos_45nm", "cmos_7nm"])
PRECISIONS = st.sampled_from(["int8", "fp16", "fp32"])
COUNTINGS = st.sampled_from(["dense", "zero_skipping"])
STORES = st.sampled_from(["sram_8kib", "sram_32kib", "sram_1mib", "dram"])


@dataclass(frozen=True, eq=False)
class Layer:
    """The least that is asked of a layer."""

    weight: Array
    bias: Array
    last: bool = False
    recurrent: Array | None = None
    name: str = ""

    def activate(self, z: Array) -> Array:
        return z if self.last else np.maximum(z, 0)


@dataclass(frozen=True, eq=False)
class Net:
    """The least that is asked of a network."""

    layers: tuple[Layer, ...]

    def activations(self, x: Array) -> list[Array]:
        values = [x]
        for layer in self.layers:
            w = layer.weight
            z = np.asarray((w @ values[-1].T).T) if sp.issparse(w) else values[-1] @ w.T
            values.append(layer.activate(z + layer.bias))
        return values[1:]


def net(sizes: tuple[int, ...], seed: int = 0, zeros: float = 0.0, sparse: bool = False) -> Net:
    rng = np.random.default_rng(seed)
    layers = []
    for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        w = rng.normal(0, a**-0.5, (b, a)).astype(np.float32)
        w[rng.random(w.shape) < zeros] = 0
        layers.append(Layer(sp.csr_array(w) if sparse else w, rng.normal(0, 0.1, b).astype(np.float32), i == len(sizes) - 2))
    return Net(tuple(layers))


def inputs(n: int, width: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.random((n, width)) * (rng.random((n, width)) < 0.4)).astype(np.float32)


works = st.builds(
    lambda seed, n, a, b, c: ann_work(net((a, b, c), seed), inputs(n, a, seed)),
    st.integers(0, 999),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 10),
)


# -- identities 14 to 17 ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), zeros=st.sampled_from([0.0, 0.5]), sparse=st.booleans(), batch=st.integers(1, 9))
def test_operations_counted_one_by_one(seed: int, zeros: float, sparse: bool, batch: int) -> None:
    mlp, x = net((7, 9, 5, 3), seed, zeros, sparse), inputs(8, 7, seed)
    work = ann_work(mlp, x, batch)
    dense = skipped = effective = 0
    for values, layer in zip([x, *mlp.activations(x)[:-1]], mlp.layers, strict=True):
        w = layer.weight.toarray() if sparse else layer.weight
        stored = (w != 0) if sparse else np.ones(w.shape, bool)
        for row in values:
            dense += stored.sum()
            skipped += stored[:, row != 0].sum()
            effective += (w[:, row != 0] != 0).sum()
    n = len(x)
    assert work.dense_macs == pytest.approx(dense / n)
    assert work.zero_skipping_macs == pytest.approx(skipped / n)
    assert work.effective_macs == pytest.approx(effective / n)
    assert work.weights == (sum((layer.weight != 0).sum() for layer in mlp.layers) if sparse else 7 * 9 + 9 * 5 + 5 * 3)
    assert sum(d for d, _ in work.by_layer().values()) == pytest.approx(work.dense_macs)
    assert work.effective_macs <= work.zero_skipping_macs <= work.dense_macs


def test_nothing_to_skip_means_dense() -> None:
    work = ann_work(net((7, 3)), np.ones((4, 7), np.float32))
    assert work.zero_skipping_macs == work.dense_macs == 21
    assert work.weight_reads("zero_skipping", 4) == work.weight_reads("dense", 4) == 21 / 4


@settings(deadline=None, max_examples=50)
@given(work=works, counting=COUNTINGS, store=STORES, batch=st.integers(1, 64), node=NODES, precision=PRECISIONS)
def test_weight_traffic_is_shared_by_the_batch(work: AnnWork, counting, store, batch, node, precision) -> None:  # type: ignore[no-untyped-def]
    def cost(b: int):  # type: ignore[no-untyped-def]
        return design(work, DigitalOptions(node=node, precision=precision, counting=counting, weights=store, batch=b))

    one, many, more = cost(1), cost(batch), cost(batch + 1)
    assert work.weight_reads("zero_skipping", 1) == pytest.approx(work.zero_skipping_macs)
    assert more.total.value <= many.total.value * (1 + 1e-9) <= one.total.value * (1 + 2e-9)
    for part in ("multiply-accumulate", "activation reads and writes"):
        assert one.by_component[part] == many.by_component[part]
    if counting == "dense":
        assert many.by_component["weight reads"].value * batch == pytest.approx(one.by_component["weight reads"].value)
    assert many.total.value == pytest.approx(sum(e.value for e in many.by_component.values()))
    dense = design(work, DigitalOptions(node=node, precision=precision, counting="dense", weights=store, batch=batch))
    assert many.total.value <= dense.total.value * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(share=st.lists(st.floats(0, 1), min_size=1, max_size=5), batch=st.integers(1, 200))
def test_weights_needed_by_a_batch(share: list[float], batch: int) -> None:
    """n (1 - (1 - p)^B) / B, against the sum of its series."""
    columns = np.full(len(share), 3)
    matrix = MatrixWork("a", len(share), 3, columns, columns, np.array(share), 1.0)
    expected = sum(3 * sum(p * (1 - p) ** k for k in range(batch)) / batch for p in share)
    assert matrix.weight_reads("zero_skipping", batch) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_precision_by_hand() -> None:
    """7 -> 3 dense, batch 1: 21 products, 21 weights from 1 MiB, 10 values from 32 KiB."""
    work = ann_work(net((7, 3)), np.ones((4, 7), np.float32))

    def picojoules(node: str, precision: str, bits: int) -> float:
        options = DigitalOptions(node=node, precision=precision, counting="dense")  # type: ignore[arg-type]
        cost = design(work, options)
        assert cost.options.batch == 1 and f"{bits} bit" in cost.sources["weight reads"].formula
        return cost.total.value * 1e12

    assert picojoules("cmos_45nm", "int8", 8) == pytest.approx(21 * 0.3 + 21 / 8 * 100 + 10 / 8 * 20)
    assert picojoules("cmos_45nm", "fp32", 32) == pytest.approx(21 * 4.6 + 21 / 2 * 100 + 10 / 2 * 20)
    assert picojoules("cmos_7nm", "int8", 8) == pytest.approx(21 * 0.1 + 21 / 8 * 14 + 10 / 8 * 8.5)
    assert picojoules("cmos_7nm", "fp32", 32) == pytest.approx(21 * 1.69 + 21 / 2 * 14 + 10 / 2 * 8.5)
    dram = design(work, DigitalOptions(counting="dense", weights="dram"))
    assert dram.by_component["weight reads"].value == pytest.approx(21 * 162.5e-12)


def test_figures_missing_at_a_node_are_named() -> None:
    work = ann_work(net((7, 3)), np.ones((4, 7), np.float32))
    with pytest.raises(SpecError) as error:
        design(work, DigitalOptions(precision="bf16", weights="hbm2"))
    assert "mul_bf16" in str(error.value) and "hbm2" in str(error.value)
    with pytest.raises(SpecError, match="batch is 0"):
        DigitalOptions(batch=0)
    hbm = design(work, DigitalOptions(node="cmos_7nm", weights="hbm2")).by_component["weight reads"]
    assert hbm.low < hbm.high
    with pytest.raises(SpecError, match="at least one"):
        ann_work(net((7, 3)), np.ones((0, 7), np.float32))


def test_the_table_has_every_combination_with_its_batch() -> None:
    work = ann_work(net((7, 9, 3)), inputs(5, 7))
    rows = designs(work, ConventionalOptions(batches=(1, 64)))
    assert len(rows) == 2 * 2 * 2 * 2 * 2 and len({r.name for r in rows}) == len(rows)
    for row in rows:
        assert f"batch {row.options.batch}" in row.name and row.not_counted
        assert all(s.source and s.trust for s in row.sources.values())


def test_sequences_count_every_input_and_the_recurrent_products() -> None:
    rng = np.random.default_rng(0)

    class Elman(Net):
        def activations(self, x: Array) -> list[Array]:
            layer, h, steps = self.layers[0], np.zeros((len(x), 4)), []
            for t in range(x.shape[1]):
                h = np.maximum(x[:, t] @ layer.weight.T + h @ layer.recurrent.T + layer.bias, 0)
                steps.append(h)
            hidden = np.stack(steps, axis=1)
            return [hidden, hidden @ self.layers[1].weight.T]

    mlp = Elman((Layer(np.ones((4, 3)), np.ones(4), recurrent=np.ones((4, 4))), Layer(np.ones((2, 4)), np.ones(2), True)))
    work = ann_work(mlp, rng.random((6, 5, 3)))
    assert work.dense_macs == 5 * 12 + 4 * 16 + 5 * 8  # the first input has no state before it
    with pytest.raises(UnsupportedModelError, match="recurrent"):
        quantise_network(mlp, rng.random((6, 5, 3)), 8, 4)


# -- machines ---------------------------------------------------------------------------------------


def test_published_machines() -> None:
    by_name = {m.name: m for m in machines()}
    assert by_name["stm32l4r5"].energy_per_mac(1) == pytest.approx(1.22e-9, rel=5e-3)
    assert by_name["gap9"].energy_per_mac(1) == pytest.approx(0.0199e-9, rel=5e-3)
    assert by_name["eyeriss"].energy_per_mac(4) == pytest.approx(11.9e-12, rel=5e-3)
    jetson = by_name["jetson_tx1"]
    assert jetson.energy(1) == pytest.approx(5.56e-3) and jetson.energy(64) == pytest.approx(0.101e-3)
    assert jetson.scaled_to(2 * 172_800, 64).value == pytest.approx(2 * 0.101e-3)
    with pytest.raises(SpecError, match="batch"):
        jetson.point(3)
    assert by_name["i7_4960x"].batches == (None,)
    for m in machines():
        assert m.source and m.trust in ("primary", "quoted", "derived") and m.boundary and m.points
    assert {m.kind for m in machines()} >= {"microcontroller", "CPU", "GPU", "embedded GPU"}


@pytest.mark.parametrize(("machine", "network"), [("nvidia_h200", "kws"), ("nvidia_h200_mnist", "mnist")])
def test_our_own_measurement_is_what_was_written_down(machine: str, network: str) -> None:
    """The GPU's points are those of docs/results/gpu.json, energy above the idle power of a closed board."""
    record = json.loads((Path(__file__).parents[2] / "docs/results/gpu.json").read_text())
    rows = [e for e in record["energy"] if e["network"] == network and e["precision"] == "float16"]
    found = next(m for m in machines() if m.name == machine)
    assert found.macs == rows[0]["macs"] and found.batches == tuple(e["batch"] for e in rows)
    for e, point in zip(rows, found.points, strict=True):
        dynamic = (e["running_power"] - record["idle_power"]["closed"]) / e["rate"]
        assert found.energy(point.batch) == pytest.approx(dynamic, rel=1e-3)
        assert point.rate == pytest.approx(e["rate"], rel=1e-3)


def test_this_machine_without_energy_readings(tmp_path: Path) -> None:
    mlp = net((7, 9, 3))
    result = measure(mlp.activations, inputs(5, 7), batch=8, seconds=0.02, powercap=tmp_path / "none")
    assert result.inferences > 0 and result.inferences % 8 == 0 and result.rate > 0
    assert result.energy is None and result.dynamic_energy is None and "RAPL" in result.reason
    with pytest.raises(SpecError, match="batch 0"):
        measure(mlp.activations, inputs(5, 7), batch=0)


def test_this_machine_with_energy_readings_that_wrap(tmp_path: Path) -> None:
    """Two packages of 30 W and 10 W in a second that the test's clock counts; the counter wraps in between."""
    now, watts, span = [0.0], (30.0, 10.0), 10_000_000

    def write() -> None:
        for i, w in enumerate(watts):
            zone = tmp_path / f"intel-rapl:{i}"
            zone.mkdir(exist_ok=True)
            (zone / "max_energy_range_uj").write_text(str(span))
            (zone / "energy_uj").write_text(str(int(9_900_000 + now[0] * w * 1e6) % span))
        (tmp_path / "intel-rapl:0:0").mkdir(exist_ok=True)  # a core inside package 0: not added again

    def rest(seconds: float) -> None:
        now[0] += seconds
        write()

    def run(x: Array) -> None:
        now[0] += 0.01
        write()

    write()
    result = measure(run, inputs(5, 7), batch=2, seconds=0.1, powercap=tmp_path, clock=lambda: now[0], rest=rest)
    assert result.seconds == pytest.approx(0.1) and result.inferences == 20
    assert result.running_power == pytest.approx(40.0) and result.idle_power == pytest.approx(40.0)
    assert result.energy == pytest.approx(4.0 / 20) and result.dynamic_energy == pytest.approx(0.0, abs=1e-9)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    unread = measure(lambda x: now.__setitem__(0, now[0] + 0.01), inputs(5, 7), seconds=0.1, powercap=tmp_path, clock=lambda: now[0])
    assert unread.energy is None and "cannot be read" in unread.reason


# -- rivals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (15, 4), (16, 5), (32, 6)])
def test_bits_of_t_steps(steps: int, bits: int) -> None:
    assert activation_bits_of(steps) == bits and 2**bits >= steps + 1 > 2 ** (bits - 1)
    with pytest.raises(SpecError):
        activation_bits_of(0)


@settings(deadline=None, max_examples=50)
@given(bits=st.integers(1, 8), seed=st.integers(0, 99))
def test_activations_take_two_to_the_bits_values(bits: int, seed: int) -> None:
    a = np.abs(np.random.default_rng(seed).normal(0, 1, 500)).astype(np.float32)
    top = best_ceiling(a, bits)
    q = quantise_unsigned(a, bits, top)
    assert len(np.unique(q)) <= 2**bits and q.max() <= top * (1 + 1e-6) and q.min() >= 0
    inside = a <= top
    assert np.abs(q - a)[inside].max() <= top / (2**bits - 1) / 2 * (1 + 1e-5)
    naive = quantise_unsigned(a, bits, float(a.max()))
    assert np.mean((q - a) ** 2) <= np.mean((naive - a) ** 2) * (1 + 1e-6)


def test_rivals_lose_little_with_many_bits_and_more_with_few() -> None:
    mlp, x = net((20, 60, 40, 5), 3), inputs(400, 20)
    labels = np.argmax(mlp.activations(x)[-1], axis=1)
    fine, coarse = rivals(mlp, x, labels, calibration=inputs(200, 20, 9), weight_bits=8, n_steps=2)
    assert fine.accuracy == fine.agreement > 0.97 and fine.activation_bits == 8
    assert coarse.activation_bits == 2 and 0.4 < coarse.accuracy < fine.accuracy
    assert coarse.energy.low < fine.energy.low <= fine.energy.value
    assert coarse.design.options.weight_bits == 8 and coarse.work.zero_skipping_macs < fine.work.dense_macs
    for rival in (fine, coarse):
        assert rival.energy.value == rival.design.total.value and rival.design.options.precision == "int8"
    network = quantise_network(mlp, inputs(200, 20, 9), 4, 3)
    for w in network.weights:
        assert len(np.unique(w)) <= 15 and np.abs(w).max() == pytest.approx(np.unique(np.abs(w)).max())
    with pytest.raises(SpecError, match="cannot quantise"):
        quantise_network(mlp, x[:0], 8, 8)


def test_one_call_gives_the_whole_side() -> None:
    mlp, x = net((20, 30, 5), 3), inputs(50, 20)
    side = conventional(mlp, x, options=ConventionalOptions(nodes=("cmos_45nm",), batches=(1, 8), measure_seconds=0.01))
    assert side.work.dense_macs == 20 * 30 + 30 * 5 and len(side.designs) == 16
    assert {m.machine.name for m in side.machines} == {m.name for m in machines()}
    for row in side.machines:
        assert row.energy.value == pytest.approx(row.machine.energy_per_mac(row.batch) * side.work.dense_macs)
        assert row.batch in row.machine.batches
    assert [m.batch for m in side.this_machine] == [1, 8]
    assert conventional(mlp, x).this_machine == ()
