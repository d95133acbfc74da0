"""The split of the error adds up, and each finding appears where its cause was put."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from converters.convert import convert
from converters.explain import PARTS, decompose, explain
from converters.mlp import MLP, Dense
from converters.verify import observe, observed
from neuro.engines import Record, simulate


def network(seed: int = 0, recurrent: bool = False) -> MLP:
    rng = np.random.default_rng(seed)
    sizes = (12, 40, 30, 5)
    layers = [
        Dense(rng.normal(0, np.sqrt(2 / n), (m, n)), rng.normal(0, 0.1, m), "identity" if i == 2 else "relu")
        for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]
    if recurrent:
        layers[0] = replace(layers[0], recurrent=rng.normal(0, 0.15, (40, 40)))
    return MLP(tuple(layers))


def inputs(n: int = 300, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 12)).astype(np.float32)


@pytest.mark.parametrize("method", ["ltb", "percentile_norm", "max_norm", "signed", "burst", "threshold_shift", "calibration", "ftbc"])
def test_the_parts_add_up_and_the_first_layer_is_even(method: str) -> None:
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method=method, n_steps=8)
    layers = decompose(snn, mlp, x[:80], observe(snn, x[:80], 8))
    for layer in layers:
        assert sum(getattr(layer, part)[0] for part in PARTS) == pytest.approx(layer.total[0], abs=1e-12)
        assert layer.clipping[0] <= 0
    if method != "ftbc":  # a drive that is the same in every step
        assert layers[0].unevenness == (0.0, 0.0)
    assert layers[1].unevenness[1] > 0
    if method in ("ltb", "percentile_norm", "max_norm", "signed", "burst"):
        assert layers[0].inherited[1] < 1e-3  # the grid alone


def test_a_run_that_was_made_is_explained_as_one_made_for_it() -> None:
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method="ltb", n_steps=8)
    seen = observed(snn, simulate(snn, x[:80], 8, record=Record(rates=50)), x[:80])
    fresh = observe(snn, x[:50], 8)
    assert all(np.array_equal(seen.counts[name], fresh.counts[name]) for name in fresh.counts)
    assert np.allclose(seen.outputs, fresh.outputs) and np.array_equal(seen.inputs, fresh.inputs)
    assert explain(snn, mlp, x[:50], 8, seen).findings == explain(snn, mlp, x[:50], 8).findings


def test_a_recurrent_layer_inherits_from_its_own_earlier_rates() -> None:
    mlp = network(recurrent=True)
    x = inputs(100).reshape(100, 1, 12).repeat(3, axis=1)
    snn = convert(mlp, calibration=x, method="percentile_norm")
    first, _ = decompose(snn, mlp, x[:, :1], observe(snn, x[:, :1], 8))
    assert first.unevenness == (0.0, 0.0) and first.inherited[1] < 1e-3
    first, _ = decompose(snn, mlp, x, observe(snn, x, 8))
    assert first.unevenness[1] > 0 and first.inherited[1] > 1e-3
    assert sum(getattr(first, part)[0] for part in PARTS) == pytest.approx(first.total[0], abs=1e-12)


def test_findings_name_their_cause() -> None:
    mlp, x = network(), inputs()
    good = convert(mlp, calibration=x, method="ltb", n_steps=8)
    text = str(explain(good, mlp, inputs(seed=9), 64))
    assert not any(word in text for word in ("silent:", "outliers set it", "unlike", "calibrated for T"))

    def says(snn: object, words: str, samples: np.ndarray = x, n_steps: int = 8) -> None:
        found = explain(snn, mlp, samples, n_steps).findings
        assert any(words in line for line in found), found

    hidden = good.populations[0]
    high = replace(good, populations=(replace(hidden, v_threshold=np.asarray(hidden.v_threshold) * 64), *good.populations[1:]))
    says(high, "hidden1 is silent", n_steps=1)
    says(high, "outliers set it", n_steps=64)
    low = replace(good, populations=(replace(hidden, v_threshold=np.asarray(hidden.v_threshold) / 8), *good.populations[1:]))
    says(low, "of its active neurons are saturated")
    says(convert(mlp, calibration=x, method="mmse", n_steps=4), "calibrated for T = 4 and ran with T = 8")
    says(good, "unlike these samples", 0.2 * x)
    says(good, "values up to", np.concatenate([x, 5 * x[:1]]))
    coarse = convert(mlp, calibration=x, method="max_norm", n_steps=8)
    assert explain(coarse, mlp, x, 2).layers[0].largest == "quantisation"
    advice = " ".join(explain(coarse, mlp, x, 2).findings)
    assert "mmse or gaussian, made for T = 2, or auto" in advice and "Raise thresholds" not in advice  # no layer is told to do both
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert explain(low, mlp, x, 256).layers[0].largest == "clipping"


def test_other_thresholds_save_what_was_promised() -> None:
    """The first layer hears the same drive whatever its thresholds, so that its error falls by the share that was named."""
    mlp, x = network(), inputs()
    net = convert(mlp, calibration=x, method="max_norm", grid=None)
    before = explain(net, mlp, x, 2)
    factor, share = before.layers[0].better
    assert factor < 0.6 and share > 0.3
    hidden = net.populations[0]
    changed = {name: np.asarray(getattr(hidden, name)) * factor for name in ("v_threshold", "amplitude", "v_init")}
    lower = replace(net, populations=(replace(hidden, **changed), *net.populations[1:]))
    after = decompose(lower, mlp, x, observe(lower, x, 2))[0]
    assert after.total[1] == pytest.approx((1 - share) * before.layers[0].total[1], rel=1e-3)
    assert after.better[1] < 0.1
    # Followed, the advice raises the agreement: thresholds made for this T instead.
    made = convert(mlp, calibration=x, method="gaussian", n_steps=2)
    assert explain(made, mlp, x, 2).verification.agreement > before.verification.agreement + 0.1
    assert not any("times as high" in line for line in explain(made, mlp, x, 2).findings)
