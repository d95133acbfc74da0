"""method="auto": what it tries, what it picks, and what it says about it."""

from __future__ import annotations

import numpy as np
import pytest

from converters.convert import convert
from converters.methods.auto import HeldOutWarning, auto, describe
from converters.mlp import MLP, Dense
from converters.verify import observe
from neuro.errors import ConversionError


def network(task: str = "classification", seed: int = 0) -> MLP:
    rng = np.random.default_rng(seed)
    sizes = (12, 40, 30, 5)
    layers = [
        Dense(rng.normal(0, np.sqrt(2 / n), (m, n)), rng.normal(0, 0.1, m), "identity" if i == 2 else "relu")
        for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]
    return MLP(tuple(layers), task=task)  # type: ignore[arg-type]


def inputs(n: int = 1200, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 12)).astype(np.float32)


def test_the_fewest_steps_that_suffice_are_picked() -> None:
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method="auto", target_loss=6.0)
    chosen = snn.info["auto"]
    picked = chosen["picked"]
    assert chosen["met"] and picked["loss"] <= 6.0 and snn.info["n_steps"] == picked["n_steps"]
    assert chosen["held_out"] == 300
    before = [t for t in chosen["tried"] if t["n_steps"] < picked["n_steps"] and not t["refused"]]
    assert all(t["loss"] > 6.0 for t in before)
    assert all(t["loss"] >= picked["loss"] for t in chosen["tried"] if t["n_steps"] == picked["n_steps"])
    # The losses are those of the network that comes back, on every fourth sample.
    held = x[::4]
    answers = observe(snn, held, picked["n_steps"]).outputs.argmax(axis=1)
    assert 100 * np.mean(answers != mlp.predict(held)) == pytest.approx(picked["loss"])
    text = describe(chosen)
    assert text.count("\n") == len(chosen["tried"]) and sum(row.startswith("*") for row in text.splitlines()) == 1


def test_a_given_t_is_kept_and_the_held_out_samples_calibrate_nothing() -> None:
    mlp, x = network(), inputs()
    snn = convert(mlp, calibration=x, method="auto", n_steps=4, target_loss=1.0)
    assert {t["n_steps"] for t in snn.info["auto"]["tried"]} == {4} and snn.info["n_steps"] == 4
    assert snn.info["calibration_samples"] == 900
    spoilt = x.copy()
    spoilt[::4] = 0.5  # held out
    other = auto(mlp, spoilt, n_steps=4, target_loss=1.0, candidates=[("ltb",)])
    assert auto(mlp, x, n_steps=4, target_loss=1.0, candidates=[("ltb",)]).sha256 == other.sha256


def test_arrays_and_streams_of_the_same_samples_choose_alike() -> None:
    mlp, x = network(), inputs()
    only = [("percentile_norm",)]
    parts = [x[:500], x[500:700], x[700:]]
    assert auto(mlp, x, n_steps=8, target_loss=1.0, candidates=only).sha256 == auto(
        mlp, parts, n_steps=8, target_loss=1.0, candidates=only
    ).sha256


def test_a_target_out_of_reach_gives_the_best_and_says_so() -> None:
    mlp, x = network(), inputs(400)
    with pytest.warns(HeldOutWarning, match="100 held-out samples"):
        snn = auto(mlp, x, n_steps=1, target_loss=0.0, candidates=[("max_norm",), ("ltb",)])
    losses = [t["loss"] for t in snn.info["auto"]["tried"]]
    assert not snn.info["auto"]["met"] and snn.info["auto"]["picked"]["loss"] == min(losses)


def test_regression_is_judged_by_r2_against_the_network() -> None:
    mlp, x = network("regression"), inputs()
    snn = convert(mlp, calibration=x, method="auto", target_loss=2.0)
    picked = snn.info["auto"]["picked"]
    held = x[::4]
    wanted, got = mlp.forward(held), observe(snn, held, picked["n_steps"]).outputs
    lost = 100 * ((wanted - got) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()
    assert picked["loss"] == pytest.approx(lost, rel=1e-4) and picked["loss"] <= 2.0


def test_what_auto_cannot_use_is_refused() -> None:
    mlp = network()
    with pytest.raises(ConversionError, match="expected 100 or more"):
        auto(mlp, inputs(60))
    with pytest.raises(ConversionError, match="every candidate was refused.*qcfs"):
        auto(mlp, inputs(400), n_steps=4, target_loss=5.0, candidates=[("qcfs",)])
    with pytest.raises(ConversionError, match="target_loss"):
        auto(mlp, inputs(400), target_loss=-1)
