import warnings
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from converters.mlp import MLP, Dense
from converters.optimizers import SGD, Adam, clip_norm
from converters.train import TrainOptions, train
from experiments.datasets import load_dataset
from neuro.errors import ConversionError, SpecError, UnsupportedModelError


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = rng.normal(0, 0.5, (300, 2)) + np.array([[0, 2], [2, 0], [-2, -1]])[y]
    return x.astype(np.float32), y


QUICK = TrainOptions(epochs=15, learning_rate=0.01)


def accuracy(mlp, x, y):
    return float(np.mean(mlp.predict(x) == y))


# --- what comes out -----------------------------------------------------------------------------------------------


def test_defaults_learn_the_digits(digits):
    mlp = train((64, 128, 64, 10), digits.x_train, digits.y_train)
    assert mlp.sizes == (64, 128, 64, 10) and mlp.task == "classification"
    assert all(layer.weight.dtype == np.float32 and layer.bias.dtype == np.float32 for layer in mlp.layers)
    assert [layer.activation for layer in mlp.layers] == ["relu", "relu", "identity"]
    assert accuracy(mlp, digits.x_test, digits.y_test) > 0.96
    facts = mlp.info["training"]
    assert facts["n_train"] == 1212 and facts["n_validation"] == 135
    assert facts["options"] == msgspec.to_builtins(TrainOptions())
    assert len(facts["history"]["loss"]) == facts["epochs"] <= 100


def test_a_trained_network_saves_and_loads(tmp_path, blobs):
    mlp = train((2, 8, 3), *blobs, QUICK)
    back = MLP.load(mlp.save(tmp_path / "mlp.npz"))
    assert back.sha256 == mlp.sha256 and back.info == mlp.info


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"loss": "squared_error"},
        {"dropout": 0.2, "input_dropout": 0.05},
        {"weight_decay": 1e-2},
        {"activation": "qcfs", "levels": 8},
        {"validation": 0.0},
        {"batch_size": 1000, "learning_rate": 0.05, "epochs": 60},
    ],
)
def test_every_way_of_training_learns(blobs, options):
    mlp = train((2, 32, 16, 3), *blobs, msgspec.structs.replace(QUICK, **options))
    assert accuracy(mlp, *blobs) > 0.97


def test_the_seed_alone_decides(blobs):
    settings = msgspec.structs.replace(QUICK, dropout=0.1, epochs=3)
    first, again = train((2, 8, 3), *blobs, settings), train((2, 8, 3), *blobs, settings)
    other = train((2, 8, 3), *blobs, msgspec.structs.replace(settings, seed=1))
    assert first.sha256 == again.sha256 != other.sha256


def test_data_are_left_as_they_were(blobs):
    x, y = blobs[0].copy(), blobs[1].copy()
    train((2, 8, 3), x, y, msgspec.structs.replace(QUICK, epochs=2, input_dropout=0.5))
    np.testing.assert_array_equal(x, blobs[0])
    np.testing.assert_array_equal(y, blobs[1])


# --- early stopping, best weights, progress -------------------------------------------------------------------------


def test_best_weights_are_kept_and_patience_ends_the_training(digits):
    held = digits.x_test, digits.y_test
    mlp = train((64, 32, 10), digits.x_train, digits.y_train, TrainOptions(patience=4, epochs=200), validation_data=held)
    facts = mlp.info["training"]
    history = facts["history"]
    assert facts["epochs"] == facts["best_epoch"] + 4 < 200
    best = history["validation_accuracy"][facts["best_epoch"] - 1]
    assert best == max(history["validation_accuracy"])
    assert np.isclose(accuracy(mlp, *held), best)


def test_without_validation_the_last_weights_are_the_result(blobs):
    settings = msgspec.structs.replace(QUICK, validation=0.0, epochs=4)
    facts = train((2, 8, 3), *blobs, settings).info["training"]
    assert facts["epochs"] == facts["best_epoch"] == 4 and facts["n_validation"] == 0
    assert "validation_loss" not in facts["history"]


def test_progress_is_reported_every_epoch(blobs):
    reports = []
    train((2, 8, 3), *blobs, msgspec.structs.replace(QUICK, epochs=5, patience=0), progress=reports.append)
    assert [(r.stage, r.done, r.total) for r in reports] == [("training", k, 5) for k in range(1, 6)]
    assert set(reports[0].info) == {"loss", "learning_rate", "validation_loss", "validation_accuracy"}
    assert reports[-1].info["loss"] < reports[0].info["loss"]


def test_learning_rate_decays(blobs):
    settings = msgspec.structs.replace(QUICK, learning_rate=0.1, learning_rate_decay=0.5, epochs=3, patience=0)
    rates = train((2, 8, 3), *blobs, settings).info["training"]["history"]["learning_rate"]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.025])


# --- penalties ------------------------------------------------------------------------------------------------------


def test_activity_penalty_silences_neurons_at_little_cost(digits):
    def activity(mlp):
        return sum(float(a.mean()) * a.shape[1] for a in mlp.activations(digits.x_test)[:-1])

    plain = train((64, 64, 10), digits.x_train, digits.y_train, TrainOptions(epochs=30))
    sparse = train((64, 64, 10), digits.x_train, digits.y_train, TrainOptions(epochs=30, activity_penalty=3e-3))
    assert activity(sparse) < 0.5 * activity(plain)
    assert accuracy(sparse, digits.x_test, digits.y_test) > 0.94


def test_weight_decay_shrinks_weights(blobs):
    def norm(mlp):
        return sum(float(np.sum(layer.weight**2)) for layer in mlp.layers)

    settings = msgspec.structs.replace(QUICK, validation=0.0)
    heavy = train((2, 32, 3), *blobs, msgspec.structs.replace(settings, weight_decay=0.5))
    assert norm(heavy) < 0.8 * norm(train((2, 32, 3), *blobs, settings))


# --- values to predict -----------------------------------------------------------------------------------------------


def test_regression_answers_in_the_units_of_its_targets():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    y = np.stack([3000 + 500 * np.abs(x[:, 0]), 1e-3 * x[:, 1]], axis=1).astype(np.float32)
    mlp = train((2, 32, 2), x, y, TrainOptions(epochs=80, learning_rate=0.01))
    assert mlp.task == "regression"
    error = np.mean((mlp.forward(x) - y) ** 2, axis=0)
    assert (1 - error / y.var(axis=0) > 0.98).all()
    assert max(mlp.info["training"]["history"]["validation_r2"]) > 0.97
    # Going on from it starts where it stopped, although the values are normalised anew.
    more = train(mlp, x, y, TrainOptions(epochs=1, learning_rate=1e-7, validation=0))
    np.testing.assert_allclose(more.forward(x), mlp.forward(x), rtol=1e-3, atol=1e-5)


def test_a_constant_target_is_learned():
    x = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    mlp = train((2, 4, 1), x, np.full(40, 7.0, np.float32), TrainOptions(epochs=60, learning_rate=0.01))
    assert np.abs(mlp.forward(x) - 7).max() < 0.5


# --- going on from a network; quantised activations -----------------------------------------------------------------


def test_going_on_from_a_network_keeps_what_it_is(blobs):
    first = replace(train((2, 16, 3), *blobs, QUICK), classes=("a", "b", "c"), info={"origin": "here"})
    limited = replace(first, layers=(replace(first.layers[0], ceiling=2.0), first.layers[1]))
    second = train(limited, *blobs, QUICK)
    assert second.classes == ("a", "b", "c") and second.info["origin"] == "here"
    assert second.layers[0].ceiling == 2.0 and second.layers[0].activation == "relu"
    assert accuracy(second, *blobs) > 0.97
    assert not np.array_equal(second.layers[0].weight, first.layers[0].weight)


def test_qcfs_from_a_relu_network_learns_one_ceiling_a_layer(digits):
    relu = train((64, 32, 16, 10), digits.x_train, digits.y_train)
    options = TrainOptions(activation="qcfs", levels=4)
    mlp = train(relu, digits.x_train, digits.y_train, options)
    hidden = mlp.layers[:-1]
    assert [layer.activation for layer in mlp.layers] == ["qcfs", "qcfs", "identity"]
    assert all(layer.levels == 4 and 0.1 < layer.ceiling < 100 for layer in hidden)
    start = float(relu.activations(digits.x_train)[0].max())
    assert hidden[0].ceiling < start
    values = np.unique(np.round(mlp.activations(digits.x_test)[0] * 4 / hidden[0].ceiling, 4))
    assert values.tolist() == [0, 1, 2, 3, 4]
    held = digits.x_test, digits.y_test
    assert accuracy(mlp, *held) > max(0.93, accuracy(relu, *held) - 0.03)
    # Its own ceilings and levels are kept when it is trained on.
    again = train(mlp, digits.x_train, digits.y_train, TrainOptions(epochs=1, learning_rate=1e-6))
    assert np.isclose(again.layers[0].ceiling, hidden[0].ceiling, rtol=1e-3) and again.layers[0].levels == 4


def test_qcfs_network_can_become_a_relu_network(blobs):
    mlp = train((2, 16, 3), *blobs, msgspec.structs.replace(QUICK, activation="qcfs"))
    plain = train(mlp, *blobs, msgspec.structs.replace(QUICK, activation="relu"))
    assert plain.layers[0].activation == "relu" and np.isinf(plain.layers[0].ceiling)


def test_random_shift_makes_a_network_that_needs_no_levels(digits):
    options = TrainOptions(epochs=15, activation="qcfs", levels=2, seed=3)
    noisy = train((64, 32, 10), digits.x_train, digits.y_train, msgspec.structs.replace(options, random_shift=True))
    smooth = replace(noisy, layers=(replace(noisy.layers[0], activation="relu", levels=0), noisy.layers[1]))
    held = digits.x_test, digits.y_test
    assert accuracy(smooth, *held) > 0.9
    with pytest.raises(SpecError, match="activation='qcfs'"):
        train((64, 8, 10), digits.x_train, digits.y_train, TrainOptions(random_shift=True))


def test_zeros_of_the_network_given_stay(sums):
    x, y = sums
    start = train((1, 6, 2), x, y, TrainOptions(epochs=1))
    kept = np.asarray(start.layers[0].recurrent).copy()
    kept[:3, 3:] = 0
    start = replace(start, layers=(replace(start.layers[0], recurrent=kept, bias=np.zeros(6, np.float32)), start.layers[1]))
    after = train(start, x, y, TrainOptions(epochs=2, keep_zeros=True)).layers[0]
    assert np.array_equal(after.recurrent == 0, kept == 0)
    # Biases are not connections: they are learned even from zero.
    assert np.all(after.bias != 0) and np.any(after.recurrent != kept)
    free = train(start, x, y, TrainOptions(epochs=2)).layers[0]
    assert np.any(free.recurrent[:3, 3:] != 0)


# --- recurrent networks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sums():
    """Sequences of ten numbers; the class is the sign of their sum, which no single element tells."""
    x = np.random.default_rng(1).normal(0, 1, (600, 10, 1)).astype(np.float32)
    return x, (x.sum(axis=(1, 2)) > 0).astype(int)


def test_recurrent_network_starts_at_the_identity_and_learns(sums):
    x, y = sums
    still = train((1, 20, 2), x, y, TrainOptions(epochs=1, learning_rate=1e-12))
    np.testing.assert_allclose(still.layers[0].recurrent, np.eye(20), atol=1e-6)
    mlp = train((1, 20, 2), x[:500], y[:500], TrainOptions(epochs=60, learning_rate=3e-3, clip_norm=1.0))
    assert mlp.recurrent and mlp.layers[1].recurrent is None
    assert accuracy(mlp, x[500:], y[500:]) > 0.93
    assert not np.allclose(mlp.layers[0].recurrent, np.eye(20), atol=1e-2)


def test_stacked_recurrent_regression_and_qcfs(sums):
    x, _ = sums
    total = x.sum(axis=(1, 2))
    mlp = train((1, 24, 12, 1), x, total, TrainOptions(epochs=25, learning_rate=3e-3, clip_norm=1.0))
    assert mlp.layers[1].recurrent is not None
    assert 1 - np.mean((mlp.forward(x)[:, 0] - total) ** 2) / total.var() > 0.9
    quantised = train(mlp, x, total, TrainOptions(epochs=2, activation="qcfs", levels=64, learning_rate=1e-4))
    assert quantised.layers[0].activation == "qcfs" and quantised.layers[0].recurrent is not None
    reached = max(float(a.max()) for a in (mlp.activations(x)[0],))
    assert 0.5 * reached < quantised.layers[0].ceiling < 2 * reached


# --- updates ---------------------------------------------------------------------------------------------------------


def test_adam_follows_its_definition():
    rng = np.random.default_rng(0)
    w = rng.normal(size=40000)
    expected, m, v = w.copy(), np.zeros_like(w), np.zeros_like(w)
    adam = Adam(w)
    for t in range(1, 6):
        g = rng.normal(size=w.size) * (rng.random(w.size) < 0.7)
        adam.step(w, g, 1e-2)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 1e-2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-14)


def test_momentum_follows_its_definition():
    rng = np.random.default_rng(0)
    w = rng.normal(size=40000)
    expected, velocity = w.copy(), np.zeros_like(w)
    sgd = SGD(w, momentum=0.8)
    for _ in range(4):
        g = rng.normal(size=w.size)
        sgd.step(w, g, 0.1)
        velocity = 0.8 * velocity + g
        expected -= 0.1 * velocity
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_updates_equal_those_of_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = rng.normal(size=1000).astype(np.float32)
    gradients = rng.normal(size=(20, 1000)).astype(np.float32)
    for ours, make in (
        (Adam(start), lambda p: torch.optim.Adam(p, lr=0.01)),
        (SGD(start, 0.9), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    ):
        w, parameter = start.copy(), torch.nn.Parameter(torch.from_numpy(start.copy()))
        theirs = make([parameter])
        for g in gradients:
            ours.step(w, g, 0.01)
            parameter.grad = torch.from_numpy(g)
            theirs.step()
        np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_clipping_scales_to_the_limit_and_only_above_it():
    g = np.array([3.0, 4.0])
    assert clip_norm(g, 10.0) == 5 and g.tolist() == [3, 4]
    assert clip_norm(g, 1.0) == 5
    np.testing.assert_allclose(g, [0.6, 0.8])


# --- bad input -------------------------------------------------------------------------------------------------------


def test_diverging_training_is_one_clear_error(blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for what, options in (
            ("loss", TrainOptions(optimizer="sgd", learning_rate=1e3, clip_norm=0, loss="squared_error")),
            ("a weight", TrainOptions(optimizer="sgd", learning_rate=3e38, epochs=1, validation=0, batch_size=300)),
        ):
            message = rf"diverged in epoch \d+: {what} is NaN .* smaller learning_rate"
            with pytest.raises(ConversionError, match=message):
                train((2, 3), 10 * blobs[0], blobs[1], options)


@pytest.mark.parametrize(
    ("model", "x", "y", "message"),
    [
        ((3, 4, 2), np.zeros((5, 2)), np.zeros(5, int), "2 inputs a sample, the network takes 3"),
        ((2, 4, 2), np.zeros((5, 2)), np.zeros(4, int), "5 samples, y 4"),
        ((2, 4, 2), np.zeros((5, 2)), np.arange(5), "labels 0 to 4"),
        ((2, 4, 2), np.zeros((5, 2)), np.full(5, -1), "labels -1 to -1"),
        ((2, 4, 2), np.full((5, 2), np.nan), np.zeros(5, int), "x holds NaN"),
        ((2, 4, 1), np.zeros((5, 2)), np.full(5, np.inf), "y holds NaN"),
        ((2, 4, 2), np.zeros((5, 2)), np.zeros(5), "1 values a sample, the network has 2"),
        ((2, 4, 2), np.zeros((5, 2)), np.array(list("abcde")), "expected .* labels or float values"),
        ((2, 4, 2), np.zeros((5, 2)), np.zeros((5, 2), int), "expected .* labels or float values"),
        ((2, 4, 2), np.zeros((0, 2)), np.zeros(0, int), "nothing to learn"),
        ((2, 4, 2), np.zeros(5), np.zeros(5, int), r"x has shape \(5,\)"),
        ((2,), np.zeros((5, 2)), np.zeros(5, int), "widths"),
        ((2, 0, 2), np.zeros((5, 2)), np.zeros(5, int), "widths"),
        ((2, 4, 2), np.zeros((1, 2)), np.zeros(1, int), "nothing to train on"),
    ],
)
def test_data_that_do_not_fit_are_named(model, x, y, message):
    with pytest.raises(SpecError, match=message):
        train(model, x.astype(np.float32), y)


def test_every_fault_is_named_at_once():
    with pytest.raises(SpecError) as error:
        train((3, 4, 2), np.zeros((5, 2), np.float32), np.arange(4))
    assert len(str(error.value).splitlines()) == 4


def test_loss_and_validation_data_must_fit_the_answers(blobs):
    x, y = blobs
    with pytest.raises(SpecError, match="cross_entropy needs class labels"):
        train((2, 4, 1), x, y.astype(np.float32), TrainOptions(loss="cross_entropy"))
    with pytest.raises(SpecError, match="validation data are for regression"):
        train((2, 4, 3), x, y, validation_data=(x, np.zeros((300, 3), np.float32)))
    with pytest.raises(SpecError, match="2 inputs|takes 2"):
        train((2, 4, 3), x, y, validation_data=(x[:, :1], y))


def test_recurrence_and_sequences_belong_together(blobs, sums):
    recurrent = train((1, 4, 2), *sums, TrainOptions(epochs=1))
    with pytest.raises(SpecError, match=r"expected \(n_samples, n_seq, n_in\)"):
        train(recurrent, sums[0][:, :, 0], sums[1])
    plain = MLP((Dense(np.zeros((3, 2), np.float32), np.zeros(3, np.float32), "identity"),))
    with pytest.raises(SpecError, match=r"expected \(n_samples, n_in\)"):
        train(plain, blobs[0][None], blobs[1])


def test_convolutions_are_refused(blobs):
    affine = Dense(np.ones((3, 2), np.float32), np.zeros(3, np.float32), "identity")
    layer = replace(affine, channels=np.zeros(3, int), kind="conv2d")
    with pytest.raises(UnsupportedModelError, match="conv2d layer; only dense"):
        train(MLP((layer,)), *blobs)


def test_settings_are_checked_all_at_once():
    with pytest.raises(SpecError) as error:
        TrainOptions(optimizer="adm", learning_rate=-1, dropout=1.0, batch_size=0)
    assert len(str(error.value).splitlines()) == 5
    with pytest.raises(msgspec.ValidationError, match="unknown field `rate`"):
        msgspec.convert({"rate": 1}, TrainOptions)
