"""Deployments: integers on cores, the same answers on every engine, saved and loaded whole, refused with every reason."""

from __future__ import annotations

import gzip
from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from deployable import dense, networks, shape, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.chip import list_chips, load_chip
from neuro.deploy import Deployment, DeployOptions, deploy
from neuro.encoding import with_encoder
from neuro.engines import simulate
from neuro.errors import CapacityError, SpecError, StoreError
from neuro.network import Population, Projection, SpikingNetwork


def same(a, b):
    """Whether two values of a deployment are the same, arrays included."""
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dataclass_fields__") and not isinstance(a, SpikingNetwork):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, SpikingNetwork):
        return a.sha256 == b.sha256
    return a == b


@settings(max_examples=15)
@given(network=networks(), native=st.booleans())
def test_save_then_load_is_the_identity(tmp_path_factory, network, native):
    made = deploy(network, "loihi1", DeployOptions(reset="native" if native else "construction", seed=3))
    path = made.save(tmp_path_factory.mktemp("deployments") / "a.npz")
    found = Deployment.load(path)
    assert found.network.sha256 == made.network.sha256
    for name in ("chip", "placement", "report", "options", "source_sha256", "notes"):
        assert same(getattr(found, name), getattr(made, name)), name
    assert found.network.info["source_sha256"] == network.sha256 == found.source_sha256


def test_a_deployment_carries_its_chip(tmp_path):
    path = tmp_path / "mine.toml"
    text = 'title = "x"\nkind = "neuromorphic"\ninherits = { chip = "loihi1", groups = ["limits", "arithmetic"] }\n'
    path.write_text(text)
    made = deploy(dense([4, 5, 3]), str(path))
    made.save(tmp_path / "d.npz")
    path.unlink()
    found = Deployment.load(tmp_path / "d.npz").chip
    assert found == made.chip and found.name == "mine" and found.energy.synaptic_operation is None


def test_a_damaged_deployment_is_named(tmp_path):
    path = tmp_path / "a.npz"
    dense([3, 4, 2]).save(path)
    with pytest.raises(StoreError, match="expected a 'spikeport.deployment' file"):
        Deployment.load(path)


@settings(max_examples=6)
@given(network=networks(), native=st.booleans(), n_steps=st.integers(1, 12))
def test_engines_agree_on_deployed_networks(network, native, n_steps):
    made = deploy(network, "loihi1", DeployOptions(reset="native" if native else "construction", order="in_order"))
    x = np.random.default_rng(0).random((7, network.input_size))
    a, b = (simulate(made, x, n_steps, engine=e) for e in ("reference", "batched"))
    np.testing.assert_array_equal(a.outputs, b.outputs)
    assert a.network_sha256 == b.network_sha256 == made.network.sha256
    for name in a.neuron_counts:
        np.testing.assert_array_equal(a.neuron_counts[name], b.neuron_counts[name])


@pytest.mark.parametrize("encoder", [False, True])
def test_the_chip_answers_as_the_ideal_network(encoder):
    network = dense([16, 60, 40, 5], seed=4, encoder=encoder)
    x = np.random.default_rng(0).random((100, 16))
    ideal = simulate(network, x, 64, engine="reference").outputs
    chip = simulate(deploy(network, "loihi1"), x, 64, engine="reference").outputs
    # In the units of the source network, within the error of 8-bit weights.
    assert np.abs(chip - ideal).mean() < 0.03 * np.ptp(ideal)
    assert np.mean(chip.argmax(axis=1) == ideal.argmax(axis=1)) > 0.95


def test_options_reach_every_part():
    network = dense([30, 200, 100, 5], seed=1, encoder=True)
    made = deploy(network, "loihi1", DeployOptions(weight_bits=4, rounding="stochastic", seed=5, order="random", reset="native"))
    assert made.report.weight_bits == 4 and made.report.rounding == "stochastic" and made.report.reset == "native"
    assert set(made.placement.compartments.values()) == {0, 1}
    again = deploy(network, "loihi1", DeployOptions(weight_bits=4, rounding="stochastic", seed=6, order="random", reset="native"))
    assert again.network.sha256 != made.network.sha256
    assert [c.tile for c in again.placement.cores] != [c.tile for c in made.placement.cores]
    eight = deploy(network, "loihi1", DeployOptions(order="in_order"))
    assert eight.placement.cores[0].use["synapse_memory"] > made.placement.cores[0].use["synapse_memory"]
    assert eight.placement.compartments == {"encoder": 0, "hidden1": 2, "hidden2": 2, "output": 1}
    with pytest.raises(msgspec.ValidationError, match="unknown field `wieght_bits`"):
        msgspec.convert({"wieght_bits": 4}, DeployOptions)


def test_notes_say_what_is_assumed():
    notes = "\n".join(deploy(dense([6, 8, 3]), "loihi1").notes)
    assert "two compartments a neuron" in notes
    assert "construction on loihi1, modelled as exact subtraction (assumption)" in notes
    assert "currents are computed by the host in float64" in notes
    assert "no measured activity was given" in notes
    native = "\n".join(deploy(dense([6, 8, 3], encoder=True), "loihi1", DeployOptions(reset="native")).notes)
    assert "modelled as exact subtraction (assumption)" not in native and "currents are computed" not in native


def test_activity_of_a_recording_or_by_population():
    network = dense([10, 300, 200, 4], seed=0, gain=3.0)
    x = np.random.default_rng(0).random((20, 10))
    run = simulate(network, x, 8, engine="reference")
    made = deploy(network, "loihi1", activity=run)
    spikes = {name: counts / 20 for name, counts in run.neuron_counts.items()}
    total = sum(float((spikes[r.pre] * (r.hops_east_west + r.hops_north_south)).sum()) for r in made.placement.routes)
    assert made.placement.traffic == pytest.approx(total)
    assert same(deploy(network, "loihi1", activity=spikes).placement.cores, made.placement.cores)
    other = simulate(dense([10, 300, 200, 4], seed=1), x, 2, engine="reference")
    with pytest.raises(SpecError, match="of another network"):
        deploy(network, "loihi1", activity=other)
    with pytest.raises(SpecError) as caught:
        deploy(network, "loihi1", activity={"hidden1": np.zeros(3), "hidden2": -1.0, "hidden9": 1.0})
    for part in ("hidden1: shape (3,)", "hidden2: NaN, infinity or negative", "hidden9: the network has no such population"):
        assert part in str(caught.value)


def test_arithmetic_and_capacity_are_refused_together():
    network = dense([20, 300, 10], seed=0)
    with pytest.raises(CapacityError) as caught:
        deploy(network, "odin")
    report = str(caught.value)
    assert "no constant current" in report and "reset by 'subtract'" in report and "fan-in of a neuron: 300, limit 256" in report
    assert report.endswith("Nothing was deployed.")


def test_what_cannot_be_deployed():
    with pytest.raises(SpecError, match="conventional design"):
        deploy(dense([3, 4, 2]), "cmos_45nm")
    with pytest.raises(SpecError, match="no chip is named"):
        deploy(dense([3, 4, 2]), "lohi1")
    made = deploy(dense([3, 4, 2]), "loihi1")
    with pytest.raises(SpecError, match="deployed already"):
        deploy(made.network, "loihi1")


@pytest.mark.parametrize("name", [n for n in list_chips() if load_chip(n).kind == "neuromorphic"])
def test_every_chip_takes_a_small_network_or_says_why_not(name):
    """A figure or a refusal with each excess, for every shipped chip; a small network fits them all, natively."""
    network = dense([16, 40, 8], seed=2, encoder=True, bias=False)
    made = deploy(network, name, DeployOptions(reset="native"))
    x = np.random.default_rng(0).random((30, 16))
    run = simulate(made, x, 16, engine="reference")
    assert run.spike_counts["hidden1"].sum() > 0 and np.ptp(run.outputs) > 0
    wide = shape([784, 1200, 1200, 10], encoder=True)
    if name.startswith(("loihi", "spinnaker")):
        return
    with pytest.raises(CapacityError, match="limit"):
        deploy(wide, name, DeployOptions(reset="native"))


def test_sparse_networks_stay_sparse():
    network = sparse(dense([20, 100, 50, 4], seed=1, encoder=True), 0.2)
    made = deploy(network, "loihi1")
    for j, old in zip(made.network.projections, network.projections, strict=True):
        assert j.weight.nnz == old.weight.nnz


# -- the trained network of the issue ---------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(data_dir):
    """Return the trained 784-1200-1200-10 network with thresholds at the 99.9 percentile, test images, labels, ANN answers."""

    def read(name, header):
        return np.frombuffer(gzip.decompress((data_dir / "mnist" / name).read_bytes()), np.uint8, offset=header)

    train = read("train-images-idx3-ubyte.gz", 16)[: 1000 * 784].reshape(-1, 784) / np.float32(255)
    x = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784) / np.float32(255)
    y = read("t10k-labels-idx1-ubyte.gz", 8)
    with np.load(data_dir / "mlp" / "mnist_784_1200_1200_10.npz") as f:
        layers = [(f[f"W{i}"].T, f[f"b{i}"]) for i in range(3)]
    populations, projections, a, h, previous, amplitude = [], [], train, x, "input", 1.0
    for i, (w, b) in enumerate(layers):
        name = "output" if i == 2 else f"hidden{i + 1}"
        a, h = a @ w.T + b, h @ w.T + b
        if i == 2:
            grid = float(np.abs(w * amplitude).max()) * 2**-12
            populations.append(Population(name, 10, reset=None, bias=b.astype(float), start=2, grid=grid))
        else:
            a, h = np.maximum(a, 0), np.maximum(h, 0)
            theta = float(np.float32(np.percentile(a, 99.9)))
            populations.append(
                Population(
                    name, 1200, v_threshold=theta, amplitude=theta, v_init=theta / 2, bias=b.astype(float), start=i, grid=theta * 2**-12
                )
            )
        projections.append(Projection(previous, name, w, delay=0 if i == 0 else 1))
        previous, amplitude = name, populations[-1].v_threshold
    return SpikingNetwork(tuple(populations), tuple(projections), 784), x, y, h.argmax(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["constant", "regular"])
def test_mnist_on_loihi1_loses_at_most_15_hundredths_of_a_point(mnist, entry):
    network, x, y, ann = mnist
    made = deploy(network if entry == "constant" else with_encoder(network, "regular", 1.0), "loihi1")
    for n_steps in (8, 16):
        answers = simulate(made, x, n_steps).predictions
        loss = np.mean(ann == y) - np.mean(answers == y)
        assert 100 * loss <= 0.15, n_steps
        assert 100 * np.mean(answers != ann) <= 0.30, n_steps


@pytest.mark.slow
def test_mnist_on_loihi1_with_native_reset(mnist):
    network, x, y, ann = mnist
    answers = simulate(deploy(network, "loihi1", DeployOptions(reset="native")), x, 16).predictions
    assert 100 * (np.mean(ann == y) - np.mean(answers == y)) <= 0.3


def test_wide_potentials_do_not_saturate_early():
    """The finest exponent leaves the potential of a read-out room for many steps."""
    network = dense([64, 200, 100, 10], seed=0, gain=1.5)
    made = deploy(network, "loihi1")
    x = np.random.default_rng(0).random((20, 64))
    wide = replace(made.network, populations=tuple(replace(p, v_floor=None, v_ceiling=None) for p in made.network.populations))
    a, b = simulate(made, x, 32, engine="reference"), simulate(wide, x, 32, engine="reference")
    np.testing.assert_array_equal(a.outputs, b.outputs)
