"""Float networks become numbers that a chip can hold, and their meaning is kept exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from deployable import dense, networks, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.chip import load_chip
from neuro.engines import simulate
from neuro.errors import CapacityError, SpecError
from neuro.formats import formats, weight_format
from neuro.network import Leak, Population, Projection, Protocol, SpikingNetwork, per_neuron
from neuro.quantize import QuantizeOptions, quantize
from neuro.stages import stages

LOIHI = load_chip("loihi1")
NATIVE = QuantizeOptions(reset="native")


def values(weight):
    return weight.data if sp.issparse(weight) else np.asarray(weight).ravel()


# -- formats ----------------------------------------------------------------------------------------


def test_loihi1_formats():
    f = formats(LOIHI)
    assert (f.weight.low, f.weight.high, f.weight.step, f.weight.unit) == (-256, 254, 2, 64)
    assert f.weight.exponents == (-1, 0, 1, 2, 3, 4, 5, 6, 7)
    assert not f.weight.per_neuron
    assert (f.threshold_unit, f.threshold_max) == (64, 131071 * 64)
    assert (f.bias_mantissa, f.bias_exponent) == (4095, 7)
    assert f.potential == (-(2**23) + 1, 2**23 - 1) and f.overflow == "saturate" and f.comparison == ">"
    assert f.accumulator == (-(2**21), 2**21 - 1)
    assert f.resets == ("zero",) and f.constant_current


@pytest.mark.parametrize(("bits", "step", "high"), [(8, 2, 254), (6, 8, 248), (5, 16, 240), (4, 32, 224), (1, 256, 0)])
def test_fewer_bits_coarsen_the_step_of_loihi1(bits, step, high):
    w = weight_format(LOIHI, bits)
    assert (w.step, w.low, w.high) == (step, -256, high)
    # Every exponent offered loses no bit of any mantissa: floor(m 2^e) = m 2^e.
    assert all((step * 2.0**e) % 1 == 0 for e in w.exponents)


def test_formats_of_other_chips():
    assert (weight_format(load_chip("odin")).low, weight_format(load_chip("odin")).high) == (-7, 7)
    assert formats(load_chip("odin")).potential == (0, 255)
    xylo = formats(load_chip("xylo_audio2"))
    assert (xylo.weight.low, xylo.weight.high, xylo.weight.per_neuron) == (-128, 127, True)
    assert xylo.potential == (-32767, 32767) and any("saturation is taken" in note for note in xylo.notes)
    truenorth = weight_format(load_chip("truenorth"))
    assert (truenorth.low, truenorth.high, truenorth.unit, truenorth.axons_per_input) == (-8, 7, 32, 4)
    assert weight_format(load_chip("truenorth"), 2).axons_per_input == 2
    assert formats(load_chip("spinnaker2")).potential is None


def test_weight_bits_that_are_not_offered():
    with pytest.raises(SpecError, match="weight_bits 7, the chip offers 1, 2, 3, 4, 5, 6, 8"):
        formats(LOIHI, 7)
    with pytest.raises(SpecError, match="conventional design"):
        formats(load_chip("cmos_7nm"))


# -- every number is one the chip can hold, and means what it meant ---------------------------------


@settings(max_examples=80)
@given(network=networks(), native=st.booleans(), rounding=st.sampled_from(["nearest", "stochastic"]))
def test_loihi1_holds_every_number(network, native, rounding):
    options = QuantizeOptions(reset="native" if native else "construction", rounding=rounding)
    net, report = quantize(network, LOIHI, options)
    reports = {r.name: r for r in report.populations}
    for p in net.populations:
        old = network[p.name]
        if p.encoder is not None:
            assert p.amplitude * p.scale == old.amplitude * old.scale
            continue
        assert p.grid == 1.0 and p.amplitude == 1.0 and p.comparison == ">"
        assert p.reset == (None if old.reset is None else "zero" if native else "subtract")
        assert (p.v_floor, p.v_ceiling) == (-(2**23) + 1, 2**23 - 1)
        if p.v_threshold is not None:
            assert np.ndim(p.v_threshold) == 0  # one scale a layer
            assert p.v_threshold % 64 == 0 and 64 <= p.v_threshold <= 131071 * 64
            # One unit of v is worth scale in the source: the threshold is still the threshold.
            np.testing.assert_allclose(p.v_threshold * np.asarray(p.scale), old.v_threshold * np.asarray(old.scale), rtol=1e-12)
            assert (np.asarray(p.v_init) == p.v_threshold // 2).all()
        if p.bias is not None:
            e = next(e for e in range(8) if (p.bias % 2**e == 0).all() and np.abs(p.bias).max() <= 4095 * 2**e)
            assert e <= 7
            units = per_neuron(old.scale, p.size) / per_neuron(p.scale, p.size)
            assert np.abs(p.bias - old.bias * units).max() <= 2.0**7 / 2 + 1e-6
    for j in net.projections:
        if j.pre == "input":
            assert j.current is None or (0 <= j.current.exponent <= 7 and j.current.mantissa_max == 4095)
            continue
        e = next(r.exponent for r in reports[j.post].projections if r.name == j.name)
        mantissa = values(j.weight) / (64 * 2.0**e)
        assert (mantissa == np.rint(mantissa)).all() and (mantissa % 2 == 0).all()
        assert mantissa.min() >= -256 and mantissa.max() <= 254
        weight = np.asarray(j.weight, dtype=float)
        assert max(np.maximum(weight, 0).sum(axis=1).max(), np.maximum(-weight, 0).sum(axis=1).max()) <= 2**21 - 1
        assert reports[j.post].accumulator <= 1


@settings(max_examples=40)
@given(network=networks(encoder=True))
def test_weights_are_the_nearest_that_fit(network):
    net, report = quantize(network, LOIHI)
    for j, old in zip(net.projections, network.projections, strict=True):
        if j.pre == "input":
            continue
        pre, post = network[j.pre], network[j.post]
        theta = per_neuron(1.0 if post.v_threshold is None else post.v_threshold, post.size)
        scale = per_neuron(1.0, post.size) if net[j.post].v_threshold is None else per_neuron(net[j.post].v_threshold, post.size)
        if post.v_threshold is None:
            scale = per_neuron(post.scale, post.size) / per_neuron(net[j.post].scale, post.size)
        wanted = old.weight * per_neuron(pre.amplitude, pre.size) * (scale / theta)[:, None]
        e = next(r.exponent for p in report.populations for r in p.projections if r.name == j.name)
        unit = 128 * 2.0**e
        kept = np.clip(wanted, -256 * unit / 2, 254 * unit / 2)
        assert np.abs(np.asarray(j.weight) - kept).max() <= unit / 2 * (1 + 1e-9)


@settings(max_examples=25)
@given(network=networks(encoder=True), c=st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_a_layer_changes_no_integer(network, c):
    """Weights, bias, threshold and v_init of a layer times c, and what it sends divided by c: the same chip."""
    first = network.populations[1]
    if first.v_threshold is None:
        return
    scaled = replace(
        first,
        v_threshold=first.v_threshold * c,
        v_init=first.v_init * c,
        bias=None if first.bias is None else first.bias * c,
        grid=first.grid * c,
    )
    projections = tuple(replace(j, weight=j.weight * c) if j.post == first.name else j for j in network.projections)
    populations = tuple(scaled if p.name == first.name else p for p in network.populations)
    a, _ = quantize(network, LOIHI)
    b, _ = quantize(replace(network, populations=populations, projections=projections), LOIHI)
    for x, y in zip(a.projections, b.projections, strict=True):
        if x.pre != "input":
            np.testing.assert_array_equal(x.weight, y.weight)
    for x, y in zip(a.populations, b.populations, strict=True):
        assert np.array_equal(x.v_threshold, y.v_threshold) if x.v_threshold is not None else y.v_threshold is None


def test_permuting_neurons_permutes_their_integers():
    network = dense([7, 9, 4], seed=3, encoder=True, per_neuron=True)
    order = np.random.default_rng(0).permutation(9)
    hidden, into, out = network["hidden1"], network.projections[1], network.projections[2]
    moved = replace(
        hidden,
        **{k: getattr(hidden, k)[order] for k in ("v_threshold", "amplitude", "v_init", "bias", "grid")},
    )
    permuted = replace(
        network,
        populations=(network["encoder"], moved, network["output"]),
        projections=(
            network.projections[0],
            replace(into, weight=into.weight[order]),
            replace(out, weight=out.weight[:, order]),
        ),
    )
    a, b = quantize(network, LOIHI)[0], quantize(permuted, LOIHI)[0]
    np.testing.assert_array_equal(a.projections[1].weight[order], b.projections[1].weight)
    np.testing.assert_array_equal(a.projections[2].weight[:, order], b.projections[2].weight)


def test_sparse_and_dense_give_the_same_integers():
    network = sparse(dense([20, 30, 10, 4], seed=5, encoder=True), density=1.0)
    a = quantize(network, LOIHI)[0]
    b = quantize(replace(network, projections=tuple(replace(j, weight=_dense(j)) for j in network.projections)), LOIHI)[0]
    for x, y in zip(a.projections, b.projections, strict=True):
        if x.pre != "input":
            assert sp.issparse(x.weight)
            np.testing.assert_array_equal(x.weight.toarray(), y.weight)


def _dense(j):
    return j.weight.toarray() if sp.issparse(j.weight) and j.pre != "input" else j.weight


def test_chips_with_a_scale_per_neuron_use_it():
    network = dense([8, 12, 5], seed=1, encoder=True, gain=1.0)
    rows = np.linspace(0.01, 1.0, 12)[:, None]  # neurons of very different weights
    network = replace(
        network,
        projections=tuple(replace(j, weight=j.weight * rows) if j.post == "hidden1" else j for j in network.projections),
    )
    error = {}
    for name in ("xylo_audio2", "spinnaker2"):  # 8-bit weights both; a scale per neuron, and one per layer
        net, report = quantize(network, load_chip(name))
        hidden = net["hidden1"]
        # The ratio of weight to threshold is what decides spikes.
        folded = network.projections[1].weight / network["hidden1"].v_threshold
        ratio = net.projections[1].weight / per_neuron(hidden.v_threshold, 12)[:, None]
        error[name] = np.abs(ratio[0] - folded[0]).max() / np.abs(folded[0]).max()
    assert error["xylo_audio2"] < 0.02 < error["spinnaker2"]
    assert np.ndim(quantize(network, load_chip("xylo_audio2"))[0]["hidden1"].v_threshold) == 1


def test_truenorth_weights_are_sums_of_four_axon_types():
    network = dense([16, 20, 5], seed=2, encoder=True)
    net, _ = quantize(network, load_chip("truenorth"))
    for j in net.projections[1:]:
        level = j.weight / 32
        assert (level == np.rint(level)).all()
        # Four axons per input, of values 1, 2, 4 and -8 times 32; each is a 9-bit number and the crossbar is binary.
        bits = (level.astype(int)[..., None] >> np.arange(4)) & 1
        np.testing.assert_array_equal((bits * np.array([1, 2, 4, -8])).sum(axis=-1) * 32, j.weight)
    assert 8 * 32 <= 2**8


def test_several_projections_into_one_population_keep_one_scale():
    """A skip with weights twenty times larger gets a larger exponent, not a threshold of its own."""
    network = dense([6, 8, 8, 3], seed=4, encoder=True)
    rng = np.random.default_rng(0)
    skip = Projection("hidden1", "output", rng.normal(0, 20.0, (3, 8)), delay=2)
    network = replace(network, projections=(*network.projections, skip))
    net, report = quantize(network, LOIHI)
    output = report.populations[-1]
    exponents = {r.name: r.exponent for r in output.projections}
    assert exponents["hidden1->output"] > exponents["hidden2->output"]
    assert all(r.rms_error < 0.05 for r in output.projections)
    units = 1 / net["output"].scale
    skip_int = next(j for j in net.projections if j.name == "hidden1->output").weight
    wanted = skip.weight * network["hidden1"].amplitude * units
    assert np.abs(skip_int - wanted).max() <= 64 * 2.0 ** exponents["hidden1->output"] * 1.0001


# -- currents of the host ---------------------------------------------------------------------------


def test_currents_are_clipped_where_it_changes_no_spike_and_rounded_to_the_register():
    network = dense([5, 40, 3], seed=0, gain=6.0)
    net, _ = quantize(network, LOIHI)
    port, hidden = net.projections[0], net["hidden1"]
    assert hidden.bias is None  # it moved into the format
    assert hidden.v_threshold == 4032  # the largest multiple of 64 that a mantissa of 4095 reaches
    np.testing.assert_allclose(port.weight, network.projections[0].weight * 4032 / network["hidden1"].v_threshold)
    np.testing.assert_allclose(port.current.offset, network["hidden1"].bias * 4032 / network["hidden1"].v_threshold)
    assert np.max(port.current.limit) == 4032 and port.current.exponent == 0


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), n_steps=st.integers(1, 20), native=st.booleans())
def test_constant_current_fires_as_the_closed_form_says(seed, n_steps, native):
    """Reset by subtraction and '>': a neuron with integer drive z fires ceil((v0 + z T) / theta) - 1 times, at most T."""
    network = dense([4, 12, 2], seed=seed % 1000, gain=3.0)
    x = np.random.default_rng(seed).random((3, 4))
    net, _ = quantize(network, LOIHI, NATIVE if native else None)
    run = simulate(net, x, n_steps, engine="reference")
    port, theta = net.projections[0], int(net["hidden1"].v_threshold)
    z = x @ port.weight.T + port.current.offset
    z = np.clip(np.rint(np.clip(z, -port.current.limit, port.current.limit)), -4095, 4095).astype(int)
    if native:
        v, fired = np.full_like(z, theta // 2), np.zeros_like(z)
        for _ in range(n_steps):
            v = v + z
            fired += v > theta
            v = np.where(v > theta, 0, v)
        expected = fired
    else:
        expected = np.clip(-(-(theta // 2 + z * n_steps) // theta) - 1, 0, n_steps)
    np.testing.assert_array_equal(run.neuron_counts["hidden1"], expected.sum(axis=0))


@pytest.mark.parametrize("native", [False, True])
def test_clipping_the_current_changes_no_spike(native):
    network = dense([5, 60, 4], seed=11, gain=20.0)
    x = np.random.default_rng(1).random((20, 5))
    net, _ = quantize(network, LOIHI, NATIVE if native else None)
    port = net.projections[0]
    # Wide enough a register for every current, and no limit.
    free = replace(port, current=replace(port.current, limit=None, mantissa_max=2**20))
    wide = replace(net, projections=(free, *net.projections[1:]))
    a, b = (simulate(n, x, 8, engine="reference") for n in (net, wide))
    assert (np.abs(x @ port.weight.T + port.current.offset) > port.current.limit).any()
    np.testing.assert_array_equal(a.outputs, b.outputs)
    for name in a.neuron_counts:
        np.testing.assert_array_equal(a.neuron_counts[name], b.neuron_counts[name])


def test_a_read_out_driven_by_the_host_alone():
    rng = np.random.default_rng(0)
    out = Population("output", 3, reset=None, bias=rng.normal(size=3), grid=2**-12)
    network = SpikingNetwork((out,), (Projection("input", "output", rng.normal(size=(3, 4)), delay=0),), 4)
    net, _ = quantize(network, LOIHI)
    x = rng.random((50, 4))
    run = simulate(net, x, 4, engine="reference")
    np.testing.assert_allclose(run.outputs, x @ network.projections[0].weight.T + out.bias, atol=2e-3)


# -- resets, rounding, refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chip", "reset", "expected"),
    [
        ("loihi1", "construction", "subtract"),
        ("loihi1", "native", "zero"),
        ("truenorth", "construction", "subtract"),
        ("truenorth", "native", "zero"),
        ("xylo_audio2", "construction", "subtract"),
        ("xylo_audio2", "native", "subtract"),
        ("odin", "native", "zero"),
    ],
)
def test_resets(chip, reset, expected):
    net, report = quantize(dense([6, 5, 3], encoder=True), load_chip(chip), QuantizeOptions(reset=reset))
    assert net["hidden1"].reset == expected and net["output"].reset is None
    assumed = [n for n in report.notes if "modelled as exact subtraction (assumption)" in n]
    assert bool(assumed) == (chip == "loihi1" and reset == "construction")


def test_native_reset_keeps_the_weights():
    network = dense([6, 30, 20, 3], encoder=True)
    a, b = quantize(network, LOIHI)[0], quantize(network, LOIHI, NATIVE)[0]
    for x, y in zip(a.projections[1:], b.projections[1:], strict=True):
        np.testing.assert_array_equal(x.weight, y.weight)


def test_stochastic_rounding_is_seeded_and_unbiased():
    network = dense([40, 60, 10], seed=6, encoder=True)

    def weights(seed):
        options = QuantizeOptions(rounding="stochastic", seed=seed, scale="max")
        return np.asarray(quantize(network, LOIHI, options)[0].projections[1].weight, dtype=float)

    np.testing.assert_array_equal(weights(0), weights(0))
    assert (weights(0) != weights(1)).any()
    nearest = quantize(network, LOIHI, QuantizeOptions(scale="max"))[0]
    theta = nearest["hidden1"].v_threshold
    exact = network.projections[1].weight * theta / network["hidden1"].v_threshold
    many = np.mean([weights(s) for s in range(200)], axis=0)
    inside = np.abs(exact) < 64 * 126
    # The mean of 200 draws of a rounding with step 64 has a standard deviation of at most 64 / 2 / sqrt(200).
    assert np.abs(many - exact)[inside].max() < 6 * 32 / np.sqrt(200)
    assert np.abs((many - exact)[inside].mean()) < 0.5


def test_report_counts_what_happened():
    network = dense([8, 10, 3], seed=9, encoder=True)
    weight = np.array(network.projections[1].weight)
    weight[0, 0] = 1e3 * np.abs(weight).max()  # one outlier: clipping it serves all the others
    network = replace(network, projections=tuple(replace(j, weight=weight) if j.post == "hidden1" else j for j in network.projections))
    for goal, clipped in (("mse", None), ("max", 0.0)):
        _, report = quantize(network, LOIHI, QuantizeOptions(scale=goal))
        got = report.populations[1].projections[0]
        assert got.name == "encoder->hidden1"
        assert clipped is None or got.clipped == clipped
        assert 0 <= got.zeroed <= 1
    assert report.populations[1].projections[0].zeroed > 0.9  # without clipping, all but the outlier vanish
    assert report.weight_bits == 8 and report.chip == "loihi1"


@pytest.mark.parametrize("bits", [6, 4])
def test_fewer_bits_have_larger_errors(bits):
    network = dense([30, 40, 10], seed=7, encoder=True)
    fine = quantize(network, LOIHI)[1].populations[1].projections[0].rms_error
    coarse = quantize(network, LOIHI, QuantizeOptions(weight_bits=bits))[1].populations[1].projections[0].rms_error
    assert coarse > 2 * fine


def test_everything_inexpressible_is_listed_at_once():
    network = dense([5, 6, 6, 3], seed=0)
    hidden = replace(network["hidden1"], max_spikes=4)
    second = replace(network["hidden2"], bias=np.zeros((8, 6)), refractory=2, leak=Leak("shift", shift=2))
    bad = replace(network, populations=(hidden, second, network["output"]), protocol=Protocol("srp", 4))
    with pytest.raises(CapacityError) as caught:
        quantize(bad, load_chip("odin"))
    report = str(caught.value)
    for part in (
        "protocol 'srp'",
        "input: the chip file states no constant current",
        "hidden1: reset by 'subtract', native are zero",
        "hidden1: up to 4 spikes a step",
        "hidden2: a bias for each step",
        "hidden2: refractory time, 2 steps",
        "hidden2: leak 'shift'",
    ):
        assert part in report, part
    signed = replace(network, populations=(replace(network["hidden1"], signed=True), *network.populations[1:]))
    with pytest.raises(CapacityError, match="signed spikes"):
        quantize(signed, LOIHI)


def test_loihi_keeps_its_own_leak():
    network = dense([5, 6, 3], seed=0, encoder=True)
    leaky = replace(network["hidden1"], leak=Leak("decay12", decay=100))
    net, _ = quantize(replace(network, populations=(network["encoder"], leaky, network["output"])), LOIHI)
    assert net["hidden1"].leak == leaky.leak


# -- the cost of each step --------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [False, True])
def test_stages_lead_from_the_ideal_network_to_the_chip(encoder):
    network = dense([12, 40, 30, 5], seed=8, encoder=encoder)
    found = stages(network, LOIHI, NATIVE)
    assert list(found) == ["ideal", "weights", "currents and biases", "comparison and width", "reset"]
    assert found["ideal"] is network
    final, _ = quantize(network, LOIHI, NATIVE)
    assert found["reset"].sha256 == final.sha256
    assert found["comparison and width"]["hidden1"].reset == "subtract"
    assert list(stages(network, LOIHI)) == ["ideal", "weights", "currents and biases", "comparison and width"]
    x = np.random.default_rng(0).random((40, 12))
    outputs = {name: simulate(net, x, 32, engine="reference").outputs for name, net in found.items()}
    spread = np.ptp(outputs["ideal"])
    # Rounding moves the answers by little; what each stage computes is in the units of the source.
    for name in ("weights", "currents and biases", "comparison and width"):
        assert np.abs(outputs[name] - outputs["ideal"]).mean() < 0.05 * spread, name
    assert (outputs["weights"] != outputs["ideal"]).any()


def test_currents_of_the_weights_stage_are_not_rounded():
    network = dense([12, 40, 5], seed=8)
    found = stages(network, LOIHI)
    assert found["weights"].projections[0].current is None
    assert found["currents and biases"].projections[0].current is not None
    x = np.random.default_rng(0).random((10, 12))
    ideal, weights = (simulate(found[k], x, 16, engine="reference") for k in ("ideal", "weights"))
    # The first layer has no weights on the chip: it fires as the ideal one, ties apart.
    difference = np.abs(ideal.neuron_counts["hidden1"] - weights.neuron_counts["hidden1"])
    assert difference.max() <= 1 and difference.mean() < 0.05
