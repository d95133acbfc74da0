"""Beyond dense layers: a LeNet-like network held sparse, a recurrent one position by position, a regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import import_models as models
import numpy as np
import pytest
import scipy.sparse as sp

from converters.convert import convert
from converters.fold import Add, BatchNorm, Flatten, Relu, average_pool, fold
from converters.importers import load
from converters.mlp import MLP, Dense
from converters.train import TrainOptions, train
from converters.verify import observe, verify
from neuro.activity import activity
from neuro.chip import load_chip
from neuro.deploy import deploy
from neuro.energy import energy
from neuro.engines import simulate
from neuro.latency import latency
from neuro.network import INPUT

METHODS = [
    "ltb",
    "percentile_norm",
    [{"name": "ltb", "iterations": 20}, {"name": "calibration", "rounds": 3}],
    [{"name": "mmse", "per_neuron": True}, "ftbc"],
]
NAMES = ["ltb", "percentile_norm", "ltb+calibration", "mmse+ftbc"]


def convolution(
    rng: np.random.Generator, shape: tuple[int, ...], n_out: int, kernel: int, pad: int = 0, activation: str = "relu"
) -> tuple[Dense, tuple[int, ...]]:
    """Return a random convolution over one or two axes as a sparse map, and the shape of what it gives."""
    c, *spatial = shape
    window = (kernel,) * len(spatial)
    out = (n_out, *(n - kernel + 1 + 2 * pad for n in spatial))
    weights = rng.normal(0, np.sqrt(2 / (c * kernel ** len(spatial))), (n_out, c, *window))
    matrix = sp.lil_array((int(np.prod(out)), int(np.prod(shape))))
    for row, (k, *at) in enumerate(np.ndindex(*out)):
        for ci, *d in np.ndindex(c, *window):
            place = [a + b - pad for a, b in zip(at, d, strict=True)]
            if all(0 <= q < n for q, n in zip(place, spatial, strict=True)):
                matrix[row, np.ravel_multi_index((ci, *place), shape)] = weights[k, ci, *d]
    size = int(np.prod(out[1:]))
    channels, kind = np.repeat(np.arange(n_out), size), f"conv{len(spatial)}d"
    bias = np.repeat(rng.normal(0, 0.1, n_out), size)
    return Dense(sp.csr_array(matrix), bias, activation, channels=channels, kind=kind), out  # type: ignore[arg-type]


def lenet(seed: int = 0) -> MLP:
    """Conv 3x3, average pool 2, conv 3x3, average pool 2, dense, dense on 14 x 14 pixels."""
    rng = np.random.default_rng(seed)
    first, shape = convolution(rng, (1, 14, 14), 4, 3)
    pool = average_pool(shape, 2)
    second, shape = convolution(rng, (4, 6, 6), 6, 3)
    pool2 = average_pool(shape, 2)
    dense = Dense(rng.normal(0, np.sqrt(2 / 24), (16, 24)), rng.normal(0, 0.1, 16))
    last = Dense(rng.normal(0, np.sqrt(2 / 16), (5, 16)), np.zeros(5), "identity")
    return MLP(fold([first, pool, second, pool2, dense, last], 196))


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_lenet_converts_with_one_threshold_a_channel_and_stays_sparse(method: object) -> None:
    mlp = lenet()
    x = np.random.default_rng(1).random((150, 196)).astype(np.float32)
    snn = convert(mlp, calibration=x, method=method, n_steps=64)
    assert all(sp.issparse(snn.incoming(name)[0].weight) for name in ("hidden1", "hidden2"))
    if method in ("ltb", METHODS[2]):
        theta = np.asarray(snn["hidden1"].v_threshold)
        channels = mlp.layers[0].channels
        assert channels is not None and all(np.ptp(theta[channels == c]) == 0 for c in range(4)) and np.ptp(theta) > 0
    found = verify(snn, mlp, x[:60], 64)
    assert found.agreement > 0.85 and all(c.correlation > 0.95 for c in found.layers)  # type: ignore[operator]


def test_a_lenet_runs_the_same_on_both_engines_and_on_a_chip() -> None:
    mlp = lenet()
    x = np.random.default_rng(1).random((60, 196)).astype(np.float32)
    snn = convert(mlp, calibration=x, n_steps=16)
    runs = [simulate(snn, x[:20], 16, engine=engine) for engine in ("batched", "reference")]
    np.testing.assert_array_equal(runs[0].outputs, runs[1].outputs)
    for name, count in runs[0].spike_counts.items():
        np.testing.assert_array_equal(count, runs[1].spike_counts[name])
    on_chip = simulate(deploy(snn, load_chip("loihi1")), x[:20], 16)
    assert np.mean(on_chip.predictions == runs[0].predictions) > 0.85


def normalised(rng: np.random.Generator, layer: Dense) -> BatchNorm:
    """Return a batch norm of the channels of a convolution."""
    n = int(np.max(layer.channels)) + 1  # type: ignore[arg-type]
    return BatchNorm(1 + rng.random(n) / 2, rng.normal(0, 0.1, n), rng.normal(0, 0.1, n), 0.5 + rng.random(n), channels=layer.channels)


def residual(axes: int, seed: int = 0) -> tuple[MLP, np.ndarray]:
    """Return conv, batch norm, ReLU; conv, batch norm, ReLU, conv, batch norm, + what entered them, ReLU; average pool, flatten, dense.

    The last layer is fitted to samples with a bright patch at one of four places; these are returned as well.
    """
    rng = np.random.default_rng(seed)
    shape: tuple[int, ...] = (1, 8, 8) if axes == 2 else (1, 32)
    x, y = rng.random((300, *shape)) * 0.4, rng.integers(4, size=300)
    side, half = shape[-1], shape[-1] // 2
    for image, k in zip(x, y, strict=True):
        if axes == 2:
            image[0, half * (k // 2) : half * (k // 2 + 1), half * (k % 2) : half * (k % 2 + 1)] += 0.5
        else:
            image[0, side // 4 * k : side // 4 * (k + 1)] += 0.5
    flat = x.reshape(300, -1).astype(np.float32)
    stem, inner = convolution(rng, shape, 3, 3, 1, "identity")
    first, _ = convolution(rng, inner, 3, 3, 1, "identity")
    second, _ = convolution(rng, inner, 3, 3, 1, "identity")
    body = [stem, normalised(rng, stem), Relu(), first, normalised(rng, first), Relu(), second, normalised(rng, second), Add(2), Relu()]
    body += [average_pool(inner, side // 4), Flatten()]
    # The features: what a last layer that passes everything on would give.
    n_features = average_pool(inner, side // 4).n_out
    features = MLP(fold([*body, Dense(np.eye(n_features), np.zeros(n_features), "identity")], flat.shape[1])).forward(flat)
    design = np.concatenate([features, np.ones((300, 1))], axis=1)
    fitted = np.linalg.lstsq(design, np.eye(4)[y], rcond=None)[0].T
    return MLP(fold([*body, Dense(fitted[:, :-1], fitted[:, -1], "identity")], flat.shape[1])), flat


@pytest.mark.parametrize("chip", ["loihi1", "spinnaker1"])
@pytest.mark.parametrize("form", ["residual conv2d", "residual conv1d", "lenet"])
def test_from_convolutions_to_joules(form: str, chip: str) -> None:
    """Convert, deploy, simulate, count, cost: every count and every joule is that of the spikes and of the synapses stored."""
    if form == "lenet":
        mlp, x = lenet(), np.random.default_rng(1).random((150, 196)).astype(np.float32)
        agrees = 0.85  # random weights: the classes lie close together
    else:
        mlp, x = residual(2 if form.endswith("2d") else 1)
        assert len(mlp.layers) == 4 and mlp.layers[2].skips[0].source == 0 and {layer.kind for layer in mlp.layers[:3]} == {form[-6:]}
        agrees = 0.95
    n_steps, n = 16, 40
    snn = convert(mlp, calibration=x[:100], n_steps=n_steps)
    deployment = deploy(snn, load_chip(chip))
    rec = simulate(deployment, x[100 : 100 + n], n_steps)
    for engine in ("reference",) if chip == "loihi1" else ():
        twin = simulate(deployment, x[100 : 100 + n], n_steps, engine=engine)
        np.testing.assert_array_equal(rec.outputs, twin.outputs)
        assert {k: v.tolist() for k, v in rec.spike_counts.items()} == {k: v.tolist() for k, v in twin.spike_counts.items()}
    ann = mlp.forward(x[100 : 100 + n])
    assert np.mean(rec.predictions == ann.argmax(axis=1)) >= agrees and len(np.unique(rec.predictions)) >= (2 if form == "lenet" else 4)
    assert np.corrcoef(rec.outputs.ravel(), ann.ravel())[0, 1] > 0.95

    act = activity(rec, deployment, inputs=x[100 : 100 + n])
    net = deployment.network
    depth = len(net.populations)
    assert act.steps_single == n * (n_steps + depth - 1)
    operations = 0
    for j in net.projections:
        if j.pre == INPUT:
            continue
        pattern = sp.csr_array(j.weight) if sp.issparse(j.weight) else None
        stored = np.bincount(pattern.indices, minlength=j.weight.shape[1]) if pattern is not None else np.full(j.weight.shape[1], j.weight.shape[0])
        count = int(rec.neuron_counts[j.pre] @ stored)
        assert act[j.post].synaptic_operations[j.name] == count > 0
        operations += count
    assert act.synaptic_operations == operations
    # A skip is a projection of its own, slower by the steps of the layers it passes.
    if form != "lenet":
        assert {j.pre: j.delay for j in net.incoming("hidden3")} == {"hidden1": 2, "hidden2": 1}
        assert set(act["hidden3"].synaptic_operations) == {"hidden1->hidden3", "hidden2->hidden3"}

    spent, taken = energy(act, deployment), latency(act, deployment)
    charged = sum(t.count for t in spent.terms if t.component == "synaptic operations")
    assert charged == pytest.approx(operations / n)
    assert spent.total.low <= spent.total.value <= spent.total.high and spent.total.value > 0
    assert spent.total.value == pytest.approx(sum(e.value for e in spent.by_layer.values()))
    assert {name for name in spent.by_layer if name.startswith("hidden")} == {p.name for p in net.populations if p.name != "output"}
    assert taken.per_inference is not None and taken.per_inference.value > 0 and taken.steps == n_steps + depth - 1


@pytest.mark.parametrize("form", ["npz", "onnx"])
def test_a_lenet_from_a_file_converts_deploys_and_runs(form: str, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnx")
        path = models.saved(models.onnx_lenet(models.lenet_arrays()), tmp_path / "lenet.onnx")
    else:
        path = lenet().save(tmp_path / "lenet.npz")
    mlp = load(path)
    x = np.random.default_rng(1).random((80, mlp.n_in)).astype(np.float32)
    snn = convert(mlp, calibration=x, n_steps=16)
    assert sp.issparse(snn.incoming("hidden1")[0].weight)
    ideal = simulate(snn, x[:20], 16)
    on_chip = simulate(deploy(snn, load_chip("loihi1")), x[:20], 16)
    for found in (ideal, on_chip):  # outputs: the classes of random weights lie too close together
        assert np.corrcoef(found.outputs.ravel(), mlp.forward(x[:20]).ravel())[0, 1] > 0.9
        assert all(count.sum() > 0 for count in found.spike_counts.values())


def sequences(n: int, n_seq: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, n_seq, 2) values and markers; the answer is whether the marked values add up to more than 1."""
    rng = np.random.default_rng(seed)
    values = rng.random((n, n_seq)).astype(np.float32)
    marks = np.zeros_like(values)
    for row in marks:
        row[rng.choice(n_seq, 2, replace=False)] = 1
    return np.stack([values, marks], axis=2), ((values * marks).sum(axis=1) > 1).astype(np.int64)


@pytest.mark.parametrize("method", ["percentile_norm", "max_norm"])
def test_a_recurrent_network_is_followed_position_by_position(method: str) -> None:
    """Every input of a sequence is shown for T steps; hidden states and outputs match the ANN's at every one of them."""
    x, y = sequences(600)
    options = TrainOptions(epochs=6, validation=0.0, clip_norm=1.0, recurrent_scale=1.0, batch_size=50)
    mlp = train((2, 24, 2), x, y, options)
    n_steps = 128
    snn = convert(mlp, calibration=x[:300], method=method, n_steps=n_steps)
    (window,) = [j for j in snn.projections if j.pre == j.post]
    assert window.delay == "window"
    ann = mlp.activations(x[300:400].astype(np.float64))
    seen = observe(snn, x[300:400], n_steps)
    rates, outputs = seen.rates["hidden1"].reshape(100, 6, 24), seen.outputs.reshape(100, 6, 2)
    for position in range(6):
        a, out = ann[0][:, position], ann[1][:, position]
        assert np.corrcoef(a.ravel(), rates[:, position].ravel())[0, 1] > 0.98, position
        assert np.sqrt(np.mean((outputs[:, position] - out) ** 2)) < 0.1 * ann[1].std() + 0.02, position
    rec = simulate(snn, x[300:320], n_steps)
    np.testing.assert_allclose(rec.outputs, outputs[:20, -1], atol=1e-9)


def test_ltb_learns_from_the_states_of_all_positions() -> None:
    """A recurrent layer's thresholds are those of the same states without recurrence: a low threshold does not hold states down."""
    rng = np.random.default_rng(0)
    weight = np.abs(rng.normal(0, 1, (6, 4))).astype(np.float32)
    recurrent = Dense(weight, np.zeros(6, np.float32), recurrent=np.eye(6, dtype=np.float32))
    out = rng.normal(0, 1, (2, 6)).astype(np.float32)
    x = rng.random((50, 8, 4)).astype(np.float32)
    states = MLP((recurrent, Dense(out, np.zeros(2, np.float32), "identity"))).activations(x)[0]
    last = Dense(out, -out @ states[:, -1].mean(axis=0), "identity")  # so that both classes occur
    states = states.reshape(-1, 6)
    plain = MLP((Dense(np.eye(6, dtype=np.float32), np.zeros(6, np.float32)), last))
    found = convert(MLP((recurrent, last)), calibration=x, method={"name": "ltb", "batch_size": 50}, check=False)
    wanted = convert(plain, calibration=states, method={"name": "ltb", "batch_size": len(states)}, check=False)
    np.testing.assert_allclose(np.asarray(found["hidden1"].v_threshold), np.asarray(wanted["hidden1"].v_threshold), rtol=1e-5)


def test_a_regression_comes_back_in_the_units_of_its_values() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((1500, 4)).astype(np.float32)
    y = np.stack([1000 + 400 * np.sin(3 * x[:, 0]) * x[:, 1], -5 + x[:, 2] - x[:, 3]], axis=1)
    mlp = train((4, 48, 24, 2), x, y, TrainOptions(epochs=25, batch_size=50))
    assert mlp.task == "regression"
    snn = convert(mlp, calibration=x[:800], method="percentile_norm", n_steps=64)
    wanted = mlp.forward(x[1200:])
    errors = []
    for n_steps in (8, 64, 256):
        found = observe(snn, x[1200:], n_steps).outputs
        r2 = 1 - ((found - wanted) ** 2).sum(axis=0) / ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
        errors.append(np.sqrt(np.mean((found - wanted) ** 2, axis=0)))
    assert (r2 > 0.99).all() and (errors[2] < errors[0]).all()
    truth = 1 - ((found - y[1200:]) ** 2).sum(axis=0) / ((y[1200:] - y[1200:].mean(axis=0)) ** 2).sum(axis=0)
    assert (truth > 0.9).all()
    assert verify(snn, mlp, x[1200:], 256).agreement > 0.99


def test_a_last_layer_with_a_relu_is_read_from_its_spikes() -> None:
    rng = np.random.default_rng(0)
    layers = (Dense(rng.normal(0, 0.5, (20, 6)), rng.normal(0, 0.1, 20)), Dense(rng.normal(0, 0.3, (4, 20)), np.full(4, 0.3)))
    mlp, x = MLP(layers), rng.random((100, 6))
    snn = convert(mlp, calibration=x, method="max_norm")
    assert [p.name for p in snn.populations] == ["hidden1", "hidden2", "output"] and snn["hidden2"].spiking
    np.testing.assert_allclose(simulate(snn, x, 1000).outputs, mlp.forward(x), atol=0.01)
    assert replace(mlp).sha256 == mlp.sha256
