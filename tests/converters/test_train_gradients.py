"""Backpropagation against central differences in float64, for every layer, loss and activation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from converters.backprop import Backprop, n_parameters, pack, unpack, views
from converters.losses import LOSSES, cross_entropy, squared_error
from converters.mlp import MLP, Dense, Skip
from neuro.errors import UnsupportedModelError

STEP = 1e-6


def network(sizes, activation="relu", recurrent=False, last="identity", seed=0):
    """Return layers with random weights; "relu6" stands for a ReLU with a ceiling low enough to be reached."""
    rng = np.random.default_rng(seed)
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        kind = activation if i < len(sizes) - 2 else last
        layers.append(
            Dense(
                weight=rng.normal(0, 1.2 / np.sqrt(n_in), (n_out, n_in)),
                bias=rng.normal(0, 0.3, n_out),
                activation="relu" if kind == "relu6" else kind,
                ceiling={"relu6": 0.8, "qcfs": 0.7 + 0.2 * i}.get(kind, np.inf),
                levels=3 if kind == "qcfs" else 0,
                recurrent=rng.normal(0, 0.5 / np.sqrt(n_out), (n_out, n_out)) if recurrent and i < len(sizes) - 2 else None,
            )
        )
    return tuple(layers)


def batch(loss, n_seq, n, n_in, n_out, seed=1):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_out, n) if loss == "cross_entropy" else rng.normal(size=(n, n_out))
    return rng.normal(size=(n_seq, n, n_in)), y


def central_differences(value, flat):
    found = np.empty_like(flat)
    for i in range(flat.size):
        kept = flat[i]
        flat[i] = kept + STEP
        above = value()
        flat[i] = kept - STEP
        found[i] = (above - value()) / (2 * STEP)
        flat[i] = kept
    return found


def gradient_and_differences(layers, loss, n_seq, dropout_seed=None, **settings):
    x, y = batch(loss, n_seq, 7, layers[0].n_in, layers[-1].n_out)
    flat = pack(layers, np.float64)
    gradient, scratch = np.full_like(flat, np.nan), np.empty_like(flat)
    machine = Backprop(layers, **settings)

    def value(into):
        rng = None if dropout_seed is None else np.random.default_rng(dropout_seed)
        return machine.loss_and_gradient(views(flat, layers), views(into, layers), x, y, LOSSES[loss], rng)

    value(gradient)
    return gradient, central_differences(lambda: value(scratch), flat)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("last", ["identity", "relu"])
@pytest.mark.parametrize("sizes", [(5, 4), (5, 7, 4), (5, 7, 6, 4)])
def test_feed_forward_gradient(loss, activation, last, sizes):
    gradient, expected = gradient_and_differences(network(sizes, activation, last=last), loss, 1)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("sizes", [(3, 5, 4), (3, 5, 6, 4)])
@pytest.mark.parametrize("n_seq", [1, 2, 6])
def test_gradient_through_time(loss, activation, sizes, n_seq):
    gradient, expected = gradient_and_differences(network(sizes, activation, recurrent=True), loss, n_seq)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    recurrent = views(expected, network(sizes, activation, recurrent=True))[0].recurrent
    assert (np.abs(recurrent).max() > 1e-3) == (n_seq > 1)


@pytest.mark.parametrize("where", [0, 1])
def test_gradient_with_recurrence_in_one_layer_only(where):
    layers = list(network((3, 5, 6, 4), "relu", recurrent=True))
    layers[where] = replace(layers[where], recurrent=None)
    gradient, expected = gradient_and_differences(layers, "cross_entropy", 5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("recurrent", [False, True])
def test_gradient_with_dropout_and_activity_penalty(recurrent):
    layers = network((6, 8, 7, 4), "relu", recurrent=recurrent)
    n_seq = 4 if recurrent else 1
    gradient, expected = gradient_and_differences(
        layers, "cross_entropy", n_seq, dropout_seed=3, dropout=0.4, input_dropout=0.2, activity_penalty=0.05
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    without, _ = gradient_and_differences(layers, "cross_entropy", n_seq)
    assert not np.allclose(gradient, without)


# --- quantised activation ------------------------------------------------------------------------------------------


def straight_through(flat, layers, x, y, loss, penalty, frozen):
    """Return the loss with every floor(u) replaced by u + (floor(u0) - u0), u0 as first met: what the gradient is of.

    Written as plain loops, apart from the code under test. ``frozen`` is filled at the first call.
    """
    arrays = views(flat, layers)
    first = not frozen
    values = list(x)
    total = 0.0
    for i, layer in enumerate(layers):
        outputs = []
        for t, below in enumerate(values):
            z = below @ arrays[i].weight.T + arrays[i].bias
            if arrays[i].recurrent is not None and t:
                z = z + outputs[-1] @ arrays[i].recurrent.T
            if layer.activation == "identity":
                outputs.append(z)
                continue
            ceiling = arrays[i].ceiling[0]
            u = z * layer.levels / ceiling + 0.5
            if first:
                frozen[i, t] = u
            u0 = frozen[i, t]
            inside = ceiling * (u + np.floor(u0) - u0) / layer.levels
            outputs.append(np.where(u0 < 0, 0.0, np.where(u0 >= layer.levels, ceiling, inside)))
        values = outputs
        if i < len(layers) - 1:
            total += penalty * sum(a.sum() for a in outputs) / x.shape[1]
    return total + LOSSES[loss](values[-1], y, np.empty_like(values[-1]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("recurrent", "n_seq"), [(False, 1), (True, 4)])
@pytest.mark.parametrize("penalty", [0.0, 0.03])
def test_qcfs_gradient_is_that_of_the_straight_through_floor(loss, recurrent, n_seq, penalty):
    layers = network((5, 8, 7, 4), "qcfs", recurrent=recurrent)
    x, y = batch(loss, n_seq, 9, 5, 4)
    flat = pack(layers, np.float64)
    gradient = np.full_like(flat, np.nan)
    machine = Backprop(layers, activity_penalty=penalty)
    value = machine.loss_and_gradient(views(flat, layers), views(gradient, layers), x, y, LOSSES[loss])
    frozen = {}
    assert np.isclose(value, straight_through(flat, layers, x, y, loss, penalty, frozen), rtol=1e-12)
    expected = central_differences(lambda: straight_through(flat, layers, x, y, loss, penalty, frozen), flat)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    ceilings = [abs(arrays.ceiling[0]) for arrays in views(expected, layers) if arrays.ceiling is not None]
    assert len(ceilings) == 2 and min(ceilings) > 1e-3


def test_random_shift_rounds_to_neighbouring_levels_without_bias():
    layers = network((5, 8, 7, 4), "qcfs", recurrent=True)
    x, _ = batch("cross_entropy", 3, 6, 5, 4)
    machine, parameters = Backprop(layers, random_shift=True), views(pack(layers, np.float64), layers)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        machine.forward(parameters, x, rng)
        drawn.append(machine._buffers["a0"][: 6 * 8].reshape(6, 8).copy())  # the first element, which no state precedes
    ceiling, levels = layers[0].ceiling, layers[0].levels
    z = np.clip(x[0] @ np.asarray(layers[0].weight).T + layers[0].bias, 0, ceiling)
    step = ceiling / levels
    counts = np.array(drawn) / step
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    assert np.all(np.abs(counts * step - z) <= step + 1e-9)
    np.testing.assert_allclose(np.mean(drawn, axis=0), z, atol=4 * step / np.sqrt(2000))
    # Without a generator the shift is a half, always.
    np.testing.assert_array_equal(machine.forward(parameters, x).copy(), Backprop(layers).forward(parameters, x))


# --- the way forward, and the vector of parameters -------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "relu6", "qcfs"])
@pytest.mark.parametrize(("recurrent", "n_seq"), [(False, 1), (True, 5)])
def test_forward_equals_the_network_itself(activation, recurrent, n_seq):
    layers = network((5, 8, 7, 4), activation, recurrent=recurrent)
    x, _ = batch("cross_entropy", n_seq, 6, 5, 4)
    found = Backprop(layers).forward(views(pack(layers, np.float64), layers), x)
    expected = MLP(layers).forward(x.transpose(1, 0, 2) if recurrent else x[0])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_buffers_of_another_batch_leave_no_trace():
    layers = network((5, 8, 7, 4), "qcfs", recurrent=True)
    parameters = views(pack(layers, np.float64), layers)
    gradient = np.empty(n_parameters(layers))
    used, fresh = Backprop(layers), Backprop(layers)
    for n_seq, n in ((6, 9), (2, 3), (4, 5)):
        x, y = batch("cross_entropy", n_seq, n, 5, 4, seed=n)
        used.loss_and_gradient(parameters, views(gradient, layers), x, y, cross_entropy)
    expected = np.empty_like(gradient)
    fresh.loss_and_gradient(parameters, views(expected, layers), x, y, cross_entropy)
    np.testing.assert_array_equal(gradient, expected)


def test_pack_and_unpack_are_inverse():
    layers = network((5, 8, 7, 4), "qcfs", recurrent=True)
    flat = pack(layers, np.float64)
    # Weights, biases and recurrent weights of 5-8-7-4, and two ceilings.
    assert flat.size == n_parameters(layers) == (40 + 8 + 64) + (56 + 7 + 49) + (28 + 4) + 2
    for given, found in zip(layers, unpack(flat, layers), strict=True):
        np.testing.assert_array_equal(given.weight, found.weight)
        np.testing.assert_array_equal(given.bias, found.bias)
        assert given.ceiling == found.ceiling
        assert (given.recurrent is None) == (found.recurrent is None)


def test_dropout_keeps_the_expected_activation():
    layers = network((4, 3000, 2), "relu")
    parameters = views(pack(layers, np.float64), layers)
    x = np.ones((1, 20, 4))
    machine = Backprop(layers, dropout=0.3)
    whole = machine.forward(parameters, x).copy()
    rng = np.random.default_rng(0)
    mean = np.mean([machine.forward(parameters, x, rng).copy() for _ in range(200)], axis=(0, 1))
    np.testing.assert_allclose(mean, whole[0], atol=0.05)


# --- losses -------------------------------------------------------------------------------------------------------


def test_cross_entropy_has_its_closed_form_and_survives_large_logits():
    gradient = np.empty((2, 3))
    assert np.isclose(cross_entropy(np.zeros((2, 3)), np.array([0, 2]), gradient), np.log(3))
    np.testing.assert_allclose(gradient, [[-1 / 3, 1 / 6, 1 / 6], [1 / 6, 1 / 6, -1 / 3]])
    assert cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([0]), gradient[:1]) == 0
    assert np.isclose(cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([1]), gradient[:1]), 1e4)


def test_squared_error_has_its_closed_form():
    gradient = np.empty((2, 2))
    value = squared_error(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 4.0]]), gradient)
    assert value == (4 + 9) / 4
    np.testing.assert_array_equal(gradient, [[0, 1], [1.5, 0]])


# --- what cannot be trained ---------------------------------------------------------------------------------------


def test_layers_that_are_not_dense_are_all_named():
    layers = list(network((4, 4, 4, 2)))
    layers[0] = replace(layers[0], weight=sp.csr_array(np.eye(4)), kind="conv2d", name="conv1")
    layers[1] = replace(layers[1], skips=(Skip(-1, np.eye(4)),))
    with pytest.raises(UnsupportedModelError) as error:
        Backprop(layers)
    assert "layer 0 (conv1): a conv2d layer" in str(error.value) and "layer 1: ends a residual" in str(error.value)
