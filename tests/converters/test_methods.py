"""One suite for every method of the table: what each result must satisfy, whatever chose its thresholds."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from converters.convert import convert
from converters.fold import fold_input_scaling
from converters.methods import METHODS, resolve
from converters.methods.auto import CANDIDATES
from converters.mlp import MLP, Dense, Skip
from converters.train import train
from converters.train_options import TrainOptions
from converters.verify import observe, verify
from experiments.summaries import names
from neuro.deploy import deploy
from neuro.engines import InputRangeWarning, Record, simulate
from neuro.errors import CapacityError, ConversionError, SpecError
from neuro.network import INPUT, SpikingNetwork, per_neuron

N_STEPS = 16
SPARSE_STEPS = {"spike_norm": {"samples": 50}, "rmp": {"samples": 50}}
CHAINS: dict[str, list[Any]] = {
    name: [*(["ltb"] if name == "v_init" else []), {"name": name, **SPARSE_STEPS.get(name, {})}] for name in METHODS
}
CHAINS["calibration advanced"] = [{"name": "calibration", "mode": "advanced", "iterations": 20}]
CHAINS["calibration potential"] = [{"name": "calibration", "target": "potential", "rounds": 2}]
CHAINS["max_norm model"] = [{"name": "max_norm", "basis": "model"}]
CHAINS["percentile_norm per neuron"] = [{"name": "percentile_norm", "per_neuron": True, "over": "nonzero"}]
CHAINS["signed floor at rest"] = [{"name": "signed", "floor_at_rest": True}]
CHAINS["ltb per layer"] = [{"name": "ltb", "per_neuron": False}]
EVERY = sorted(CHAINS)
SLOW = {"max_norm model": 256}  # thresholds of the worst case: many steps
# These set thresholds (or initial potentials) and leave weights and biases as they are.
KEEP_WEIGHTS = sorted(set(EVERY) - {"threshold_shift", "ftbc"} - {n for n in EVERY if n.startswith("calibration")})


def relu_network(seed: int = 0, sizes: tuple[int, ...] = (12, 20, 15, 5), last: str = "identity", **hidden: Any) -> MLP:
    rng = np.random.default_rng(seed)
    layers = []
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weight = rng.normal(0, np.sqrt(2 / n), (m, n)).astype(np.float32)
        bias = rng.normal(0, 0.1, m).astype(np.float32)
        layers.append(Dense(weight, bias, last) if i == len(sizes) - 2 else Dense(weight, bias, **{"activation": "relu", **hidden}))
    return MLP(tuple(layers))


def network_for(name: str) -> MLP:
    return relu_network(activation="qcfs", ceiling=2.0, levels=N_STEPS) if name == "qcfs" else relu_network()


def inputs(n: int = 300, seed: int = 1, n_in: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).random((n, n_in)).astype(np.float32)


def converted(name: str, **changes: Any) -> SpikingNetwork:
    settings = {"calibration": inputs(), "method": CHAINS[name], "n_steps": N_STEPS, **changes}
    return convert(settings.pop("mlp", None) or network_for(name), **settings)


def folded(network: SpikingNetwork) -> MLP:
    """Return the ReLU network that the spiking one stands for, with thresholds folded into the weights."""
    below, layers = np.ones(network.input_size), []
    for p in network.populations:
        (j,) = network.incoming(p.name)
        theta = np.ones(p.size) if p.v_threshold is None else per_neuron(p.v_threshold, p.size)
        bias = np.asarray(p.bias)
        weight = np.asarray(j.weight) * below / theta[:, None]
        bias = (bias.mean(axis=0) if bias.ndim == 2 else bias) / theta
        layers.append(Dense(weight, bias, "relu" if p.spiking else "identity"))
        below = theta
    return MLP(tuple(layers))


@pytest.mark.parametrize("name", EVERY)
def test_thresholds_are_positive_and_the_source_is_left_alone(name: str) -> None:
    mlp = network_for(name)
    before = mlp.sha256
    weights = [layer.weight.copy() for layer in mlp.layers]
    snn = converted(name, mlp=mlp)
    for p in snn.populations[:-1]:
        theta = per_neuron(p.v_threshold, p.size)
        assert np.isfinite(theta).all() and (theta > 0).all()
    assert snn.info["source_sha256"] == before
    for layer, weight in zip(mlp.layers, weights, strict=True):
        np.testing.assert_array_equal(layer.weight, weight)


@pytest.mark.parametrize("name", KEEP_WEIGHTS)
def test_scaling_by_the_thresholds_changes_no_output_of_the_ann(name: str) -> None:
    """W theta_below / theta, b / theta: hidden activations are divided by theta, logits stay."""
    mlp = network_for(name)
    snn = converted(name, mlp=mlp, grid=None)
    layers = [replace(layer, activation="identity" if i == 2 else "relu", ceiling=np.inf) for i, layer in enumerate(mlp.layers)]
    plain = MLP(tuple(layers))
    x = inputs(50, seed=3).astype(np.float64)
    np.testing.assert_allclose(folded(snn).forward(x), plain.forward(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_verification_passes_and_says_what_was_assumed(name: str) -> None:
    mlp = network_for(name)
    n_steps = SLOW.get(name, N_STEPS)
    snn = converted(name, mlp=mlp, n_steps=n_steps)
    found = verify(snn, mlp, inputs(60, seed=2), n_steps)
    assert found.agreement > 0.7
    assert all(c.correlation is not None and c.correlation > 0.8 for c in found.layers)
    info = snn.info
    assert info["calibration_samples"] == 300 and info["n_steps"] == n_steps
    assert [step["name"] for step in info["method"]] == [step.name for step in resolve(CHAINS[name])]
    assert info["extra_steps"] == (snn.protocol.pre_steps if snn.protocol else 0)
    assert 0 < info["verification"]["agreement"] <= 1


@pytest.mark.parametrize("name", EVERY)
def test_saving_keeps_every_spike_and_the_seed_decides_everything(name: str, tmp_path: Any) -> None:
    snn, again = converted(name), converted(name)
    loaded = SpikingNetwork.load(snn.save(tmp_path / "snn.npz"))
    assert snn.sha256 == again.sha256 == loaded.sha256
    assert snn.info == again.info and loaded.info == snn.info
    x = inputs(20, seed=5)
    first, second = observe(snn, x, N_STEPS), observe(loaded, x, N_STEPS)
    np.testing.assert_array_equal(first.outputs, second.outputs)
    for population, counts in first.counts.items():
        np.testing.assert_array_equal(counts, second.counts[population])


@pytest.mark.parametrize("name", [n for n in EVERY if n not in ("srp", "cos", "ftbc")])
def test_the_first_layer_fires_as_often_as_the_closed_form_says(name: str) -> None:
    """Constant drive z: clip(floor((v0 + z T)/theta), 0, k T), in units of the grid; v0 = theta/2 unless the method moves it."""
    snn, x = converted(name), inputs(40, seed=4)
    p, port = snn.populations[0], snn.incoming("hidden1")[0]
    unit = per_neuron(p.grid, p.size)
    z = np.rint(x.astype(np.float64) @ np.asarray(port.weight, np.float64).T / unit) + np.rint(np.asarray(p.bias) / unit)
    theta, v0 = (np.rint(per_neuron(value, p.size) / unit) for value in (p.v_threshold, p.v_init))
    if name not in ("threshold_shift", "calibration potential"):
        np.testing.assert_array_equal(v0, theta / 2)
    expected = np.clip(np.floor((v0 + z * N_STEPS) / theta), 0, N_STEPS * p.max_spikes)
    np.testing.assert_array_equal(observe(snn, x, N_STEPS).counts["hidden1"], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rec = simulate(snn, x, N_STEPS)
    np.testing.assert_array_equal(rec.spike_counts["hidden1"], expected.sum(axis=1))


@pytest.mark.parametrize("levels", [1, 4, 7])
def test_qcfs_with_as_many_levels_as_steps_is_its_activation_on_the_first_layer(levels: int) -> None:
    """Dyadic weights, inputs and lambda, so that ties fall the same way in both."""
    rng = np.random.default_rng(0)
    layers = tuple(
        Dense(rng.integers(-64, 65, (m, n)) / 64, rng.integers(-16, 17, m) / 64, kind, ceiling=2.0 if kind == "qcfs" else np.inf,
              levels=levels if kind == "qcfs" else 0)
        for n, m, kind in ((12, 40, "qcfs"), (40, 30, "qcfs"), (30, 5, "identity"))
    )  # fmt: skip
    mlp, x = MLP(layers), rng.integers(0, 9, (200, 12)) / 8
    snn = convert(mlp, calibration=x, method="qcfs", n_steps=levels)
    np.testing.assert_allclose(observe(snn, x, levels).rates["hidden1"], mlp.activations(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in EVERY if n != "qcfs"])
def test_dead_neurons_get_a_threshold_and_are_reported(name: str) -> None:
    mlp = relu_network()
    bias = mlp.layers[0].bias.copy()
    bias[[3, 7]] = -100.0
    dead = MLP((replace(mlp.layers[0], bias=bias), *mlp.layers[1:]))
    snn = converted(name, mlp=dead)
    theta = per_neuron(snn.populations[0].v_threshold, 20)
    assert (theta > 0).all()
    if np.ptp(theta) > 0 and name != "max_norm model":
        assert snn.info["steps"]["thresholds"]["hidden1"]["dead"] >= 2
    assert observe(snn, inputs(20), N_STEPS).counts["hidden1"][:, [3, 7]].sum() == 0


@pytest.mark.parametrize("name", EVERY)
def test_data_that_cannot_be_used_are_refused_by_every_method(name: str) -> None:
    x, nan = inputs(), inputs()
    nan[7, 3] = np.nan
    for bad, message in (
        (x[:4], "4 samples, expected 10"),
        (nan, "NaN or infinity, the first in sample 7, value 3"),
        ([x, nan], "the first in sample 307, value 3"),
        (x[:, :5], "shape"),
        (np.repeat(x[:1], 50, axis=0), "class"),
        (iter([x]), "only once"),
    ):
        with pytest.raises(ConversionError, match=message):
            converted(name, calibration=bad)


NEED_T = ("threshold_shift", "mmse", "gaussian", "calibration", "calibration advanced", "ftbc")


@pytest.mark.parametrize("name", NEED_T)
def test_a_method_made_for_one_t_asks_for_it_and_warns_at_another(name: str) -> None:
    with pytest.raises(ConversionError, match="n_steps"):
        converted(name, n_steps=None)
    snn = converted(name)
    assert snn.info["calibrated_for_T"] == N_STEPS
    if name != "ftbc":
        with pytest.warns(UserWarning, match=f"calibrated for T = {N_STEPS}"):
            simulate(snn, inputs(5), N_STEPS - 3)


def awkward() -> dict[str, MLP]:
    rng = np.random.default_rng(2)

    def layer(n: int, m: int, **more: Any) -> Dense:
        return Dense(rng.normal(0, 0.3, (m, n)), rng.normal(0, 0.1, m), **more)

    sparse = [replace(layer(12, 12), weight=sp.csr_array(rng.normal(0, 0.3, (12, 12))), kind="conv1d") for _ in range(2)]
    return {
        "sparse": MLP((*sparse, layer(12, 5, activation="identity"))),
        "recurrent": MLP(
            (layer(12, 9, recurrent=0.3 * np.eye(9)), layer(9, 8, recurrent=0.3 * np.eye(8)), layer(8, 5, activation="identity"))
        ),
        "limited": MLP((layer(12, 9, ceiling=0.5), layer(9, 8, ceiling=0.5), layer(8, 5, activation="identity"))),
        "skips": MLP(
            (
                layer(12, 12),
                layer(12, 12, skips=(Skip(-1, np.eye(12)),)),
                layer(12, 12, skips=(Skip(0, np.eye(12)),)),
                layer(12, 5, activation="identity"),
            )
        ),
    }


REFUSED = {
    ("calibration advanced", "sparse"): ("hidden1", "hidden2"),
    ("calibration advanced", "recurrent"): ("hidden1", "hidden2"),
    ("calibration advanced", "skips"): ("hidden2", "hidden3"),
    ("burst", "limited"): ("hidden1", "hidden2"),
    ("max_norm model", "recurrent"): ("hidden1", "hidden2"),
    **{
        (name, "recurrent"): ("hidden1", "hidden2")
        for name in ("spike_norm", "rmp", "srp", "cos", "ftbc", "calibration", "calibration potential")
    },
    **{("qcfs", kind): ("hidden1", "hidden2") for kind in ("sparse", "recurrent", "limited", "skips")},
}


@pytest.mark.parametrize("kind", ["sparse", "recurrent", "limited", "skips"])
@pytest.mark.parametrize("name", EVERY)
def test_layers_a_method_cannot_take_are_all_named_and_all_others_convert(name: str, kind: str) -> None:
    mlp = awkward()[kind]
    x = inputs(60) if kind != "recurrent" else inputs(60, n_in=36).reshape(60, 3, 12)
    if (name, kind) in REFUSED:
        with pytest.raises(ConversionError) as caught:
            converted(name, mlp=mlp, calibration=x)
        assert all(layer in str(caught.value) for layer in REFUSED[name, kind])
    else:
        n_steps = SLOW.get(name, N_STEPS)
        found = verify(converted(name, mlp=mlp, calibration=x, n_steps=n_steps), mlp, x, n_steps)
        assert found.agreement > 0.6


def test_a_chain_without_thresholds_says_which_step_is_missing() -> None:
    with pytest.raises(ConversionError, match="put one first"):
        convert(relu_network(), calibration=inputs(), method="v_init")


def test_protocols_declare_their_extra_steps() -> None:
    for name, steps in (("srp", 4), ("cos", 8)):
        snn = converted(name, check=False)
        assert snn.protocol is not None and snn.protocol.kind == name
        assert snn.protocol.pre_steps == snn.info["extra_steps"] == steps
        assert snn.info["extra_state"]
        assert all(j.pre != INPUT or j.delay == 0 for j in snn.projections)


# -- how a method is written ------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_its_own_file_its_source_and_where_it_departs(name: str) -> None:
    run = METHODS[name].run
    assert run.__module__ == f"converters.methods.{name}"
    text = " ".join((run.__doc__ or "").split())
    assert re.search(r"Source: .+ (doi:10\.\d+/\S+|arXiv:\d{4}\.\d{4,5})", text) and "Departs: " in text
    assert all(field in (METHODS[name].options.__doc__ or "") for field in METHODS[name].options.__struct_fields__)


CONTRADICTIONS: list[tuple[list[Any], str]] = [
    (["ltb", "mmse"], "'ltb' and 'mmse' both set the thresholds"),
    (["ltb", "ltb"], "'ltb' stands 2 times"),
    (["signed", "burst"], "'signed' and 'burst' both set the neurons' rule"),
    (["srp", "cos"], "'srp' and 'cos' both set the presentation protocol"),
    (["ltb", "threshold_shift", "v_init"], "both set the initial potential"),
    (["calibration", "ltb"], "put 'ltb' first"),
    (["ftbc", "burst"], "put 'burst' first"),
    (["calibration", "v_init"], "put 'v_init' first"),
    (["threshold_shift", "percentile_norm"], "put 'percentile_norm' first"),
    (["v_init", "qcfs"], "put 'qcfs' first"),
    ([{"name": "spike_norm", "reset": "zero"}, "signed"], "'spike_norm' with reset 'zero' and 'signed'"),
    (["burst", "cos"], "'cos' and 'burst'"),
    (["auto", "calibration"], "'auto' stands alone"),
]


@pytest.mark.parametrize(("chain", "message"), CONTRADICTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_steps_that_undo_or_exclude_each_other_are_refused(chain: list[Any], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        resolve(chain)


def test_chains_that_make_sense_are_taken_and_may_be_written_with_a_plus() -> None:
    for chain in (["burst", "mmse"], ["v_init", "mmse"], ["ltb", "threshold_shift", "calibration"], ["calibration", "ftbc"],
                  ["qcfs", {"name": "v_init", "fraction": 0.0}], ["ltb", "signed", "srp"], ["ltb", "calibration", "calibration"]):  # fmt: skip
        assert len(resolve(chain)) == len(chain)
    assert resolve("ltb+calibration") == resolve(["ltb", "calibration"])


def test_all_mistakes_of_a_method_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        resolve([{"name": "ltb", "iteration": 3}, "calibratoin"])
    assert "did you mean 'iterations'" in str(caught.value) and "did you mean 'calibration'" in str(caught.value)
    with pytest.raises(SpecError, match=r"'ltb': iterations 0, expected 1 or more; floor -1, expected 0 to 1$"):
        resolve({"name": "ltb", "iterations": 0, "floor": -1})
    with pytest.raises(SpecError, match="'ltb': iterations: expected int, found str"):
        resolve({"name": "ltb", "iterations": "3"})
    for other in (None, 3, [["ltb"]], []):
        with pytest.raises(SpecError, match="method: "):
            resolve(other)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="give one of the two"):
        convert(relu_network(), calibration=inputs(), method="threshold_shift", n_steps=8, v_init=0.2)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_number_of_an_option_has_its_limits(name: str) -> None:
    for field in METHODS[name].options.__struct_fields__:
        value = getattr(METHODS[name].options(), field)
        optional = {"n_steps": 1, "halve_above": 1.0}.get(field)
        kind = type(value if value is not None else optional)
        for wrong in [-1] if kind is int else [-1.0, float("nan"), float("inf")] if kind is float else []:
            with pytest.raises(SpecError, match=field):
                resolve({"name": name, field: wrong})


def test_layers_that_are_never_active_are_named() -> None:
    mlp = relu_network()
    with pytest.raises(ConversionError, match="no neuron of hidden1 and hidden2 is ever active"):
        convert(
            MLP(tuple(replace(layer, bias=np.full(layer.n_out, -100.0)) for layer in mlp.layers[:-1]) + mlp.layers[-1:]),
            calibration=inputs(),
        )


def test_what_is_no_array_of_numbers_is_refused_by_name() -> None:
    with pytest.raises(ConversionError, match="expected numbers"):
        convert(relu_network(), calibration=np.full((30, 12), "a"))
    with pytest.raises(ConversionError, match="numpy.asarray"):
        convert(relu_network(), calibration=inputs().tolist())


@pytest.mark.parametrize("most", [1, 5])
def test_gaussian_thresholds_are_those_of_least_squares_for_bursts_too(most: int) -> None:
    """One neuron with a Gaussian drive, against every threshold of a fine grid."""
    z = np.random.default_rng(0).normal(0.2, 1.0, (40_000, 1)).astype(np.float32)
    one = np.ones((1, 1), np.float32)
    mlp = MLP((Dense(one, np.zeros(1, np.float32)), Dense(one, np.zeros(1, np.float32), "identity")), task="regression")
    n_steps, grid = 2, np.linspace(0.1, 4, 400)

    def error(theta: float) -> float:
        sent = theta / n_steps * np.clip(np.floor(0.5 + n_steps * z / theta), 0, most * n_steps)
        return float(((sent - np.maximum(z, 0)) ** 2).mean())

    method = [*([{"name": "burst", "max_spikes": most}] if most > 1 else []), "gaussian"]
    theta = convert(mlp, calibration=z, method=method, n_steps=n_steps, check=False)["hidden1"].v_threshold
    assert error(float(theta)) < 1.01 * min(map(error, grid))


def test_no_drive_exceeds_a_threshold_that_the_weights_alone_decide() -> None:
    """Neurons with tiny weights too, whose thresholds are raised, and send more than their bound."""
    mlp = relu_network()
    first = mlp.layers[0]
    scale = np.where(np.arange(first.n_out) % 2, 1, 0.01).astype(np.float32)
    mlp = replace(mlp, layers=(replace(first, weight=first.weight * scale[:, None], bias=first.bias * scale), *mlp.layers[1:]))
    snn = convert(mlp, calibration=inputs(), method={"name": "max_norm", "basis": "model", "per_neuron": True}, check=False)
    one, two = (per_neuron(snn[name].v_threshold, snn[name].size) for name in ("hidden1", "hidden2"))
    assert snn.info["steps"]["thresholds"]["hidden1"]["raised"] >= 1
    layer = mlp.layers[1]
    assert (np.maximum(layer.weight, 0) @ one + np.maximum(layer.bias, 0) <= two * (1 + 1e-6)).all()


def test_a_bias_per_step_helps_signed_neurons() -> None:
    """The mean of what signed neurons send comes closer to the ANN's, on the calibration samples."""
    mlp, x = relu_network(), inputs()
    wanted = mlp.activations(x)
    errors = []
    for chain in (["max_norm", "signed"], ["max_norm", "signed", {"name": "ftbc", "rounds": 4}]):
        seen = observe(convert(mlp, calibration=x, method=chain, n_steps=8), x, 8)
        errors.append(np.abs(seen.rates["hidden2"].mean(axis=0) - wanted[1].mean(axis=0)).mean())
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("engine", ["batched", "reference", "synapses"])
def test_signed_neurons_floored_at_rest_owe_nothing_before_they_sent(engine: str) -> None:
    """R0: until a neuron has sent a spike more than it took back, its potential stays at zero or above."""
    mlp, x = relu_network(), inputs(20, seed=4)
    runs = {}
    for floored in (False, True):
        snn = convert(mlp, calibration=inputs(), method=["ltb", {"name": "signed", "floor_at_rest": floored}])
        assert snn["hidden2"].signed_floor is floored
        runs[floored] = simulate(snn, x, 8, engine=engine, record=Record(potentials=("hidden2",), spikes=("hidden2",), samples=tuple(range(20))))
    lowest = {floored: np.nanmin(rec.potentials["hidden2"]) for floored, rec in runs.items()}
    table = runs[True].spikes["hidden2"]
    quiet = np.ones((20, 15), bool)
    quiet[table[:, 0], table[:, 2]] = False
    silent = runs[True].potentials["hidden2"].transpose(0, 2, 1)[quiet]
    assert len(silent) and silent.min() >= 0 > lowest[False]
    assert runs[True].spike_counts["hidden2"].sum() > runs[False].spike_counts["hidden2"].sum()


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(SpecError, match="iterations 10, seed 3 without effect; give mode='advanced'"):
        resolve({"name": "calibration", "iterations": 10, "seed": 3})
    with pytest.raises(SpecError, match="with_weights 1 without effect; it is for basis='data'"):
        resolve({"name": "max_norm", "basis": "model", "with_weights": True})
    assert resolve({"name": "calibration", "mode": "advanced", "iterations": 10})
    with_floor = [name for name, method in METHODS.items() if "floor" in method.options.__struct_fields__]
    assert len(with_floor) == 8
    for name in with_floor:
        with pytest.raises(SpecError, match="floor 0.5 without effect; give per_neuron=True"):
            resolve({"name": name, "per_neuron": False, "floor": 0.5})
        assert resolve({"name": name, "per_neuron": True, "floor": 0.5})
    with pytest.raises(SpecError, match="'burst': percentile, per_neuron, floor without effect, because 'mmse' sets the thresholds"):
        resolve(["mmse", {"name": "burst", "percentile": 99.0, "per_neuron": True, "floor": 0.5}])
    with pytest.raises(SpecError, match="target_loss 0.5 is for method='auto'"):
        convert(relu_network(), calibration=inputs(), method="ltb", target_loss=0.5)


def test_inputs_scaled_otherwise_than_in_training_are_warned_of_where_the_network_knows() -> None:
    x = inputs(400)
    mlp = train((12, 16, 3), x, x[:, :3].argmax(axis=1), TrainOptions(epochs=20))
    assert mlp.info["training"]["input_range"] == [float(x.min()), float(x.max())]
    for other in (255 * x, x - 1):
        with pytest.warns(UserWarning, match=r"calibration inputs lie in .* trained on in \[.*; scale them as in training"):
            convert(mlp, calibration=other, check=False)
    with pytest.raises(ConversionError, match="class . for all 400 samples(.|\n)*scale them as in training"):
        convert(mlp, calibration=x / 255)
    raw = fold_input_scaling(mlp, 1 / 255, -0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(mlp, calibration=1.2 * x, check=False)
        convert(raw, calibration=255 * (x + 0.5), check=False)
        convert(replace(mlp, info={}), calibration=255 * x, check=False)
    with pytest.raises(ConversionError, match="scale them as in training"):
        convert(raw, calibration=x, check=False)


@pytest.mark.parametrize("beyond", [1e-5, 1e-2])
def test_a_rounding_beyond_the_calibrated_range_is_not_warned_of(beyond: float) -> None:
    x = inputs()
    network = convert(relu_network(), calibration=x, check=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        simulate(network, np.minimum(x[:8], 0) + np.float32(x.max() + beyond), 4)
    assert sum(w.category is InputRangeWarning for w in said) == (beyond > 1e-3)


def test_a_calibration_set_of_nearly_one_class_is_warned_of() -> None:
    """A set sorted by class, of which the network takes a few samples for another one."""
    mlp, x = relu_network(), inputs(4000)
    answers = mlp.predict(x)
    one = x[answers == answers[0]][:98]
    few = np.concatenate([one, x[answers != answers[0]][:2]])
    with pytest.warns(UserWarning, match=f"answers class {answers[0]} for 98 of 100 calibration samples; if they are sorted by class"):
        convert(mlp, calibration=few, check=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(mlp, calibration=np.concatenate([one[:60], x[answers != answers[0]][:20]]), check=False)


def test_the_list_of_methods_says_what_the_docs_recommend(root: Path) -> None:
    """One T or any, the default, what chips refuse: from the methods themselves; and the choice of docs/results/methods.md."""
    told = names("methods")
    assert set(told) == {*METHODS, "auto"}
    for name in METHODS:
        assert ("ade for one T" in told[name]) == (name in NEED_T), name
    assert [name for name, text in told.items() if "The default" in text] == [convert.__kwdefaults__["method"]]
    recommended = (root / "docs" / "results" / "methods.md").read_text().split("## What to use")[1].split("## How it was made")[0]
    few, more = recommended.split("**T = 1 or 2.**")[1].split("**T = 4 and more.**")
    assert 'Hence `method="auto"`' in few and "T = 1 and 2" in told["auto"]
    for name in ("gaussian", "mmse"):
        assert f"`{name}" in few and "safest single choice at T = 1 and 2" in told[name]
        assert any(step["name"] == name for chain in CANDIDATES for step in chain)
    assert "`ltb` holds for every T" in more and "for every T" in told["ltb"]
    deployed = convert(relu_network(), calibration=inputs(), method="ltb", check=False)
    refused = {"burst", "signed", "srp", "cos"}
    for name in METHODS:
        assert ("chips refuse" in told[name]) == (name in refused)
    for name in refused:
        with pytest.raises(CapacityError):
            deploy(convert(relu_network(), calibration=inputs(), method=["ltb", name], check=False), "loihi1")
    assert deploy(deployed, "loihi1").placement.cores
