"""What all parties compute: a converted network, its inputs, and the same network as plain normalised weights.

Written to a folder once, so that every party reads it in a process of its own and its peak memory is its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MODELS = {"small": "mnist_784_256_128_10.npz", "large": "mnist_784_1200_1200_10.npz"}
NETWORKS = ("tiny", *MODELS)
CALIBRATION = 1000
CHIP = "loihi1"


def prepare(name: str, n_images: int, folder: Path, data_dir: str | None) -> None:
    """Convert a network with thresholds at the 99.9th percentile and write what the parties read."""
    import converters
    import neuro

    if name == "tiny":
        rng = np.random.default_rng(0)
        shapes = ((20, 32), (32, 24), (24, 4))
        arrays = {f"W{i}": rng.normal(0, 0.4, shape).astype(np.float32) for i, shape in enumerate(shapes)}
        arrays |= {f"b{i}": np.zeros(shape[1], np.float32) for i, shape in enumerate(shapes)}
        mlp, x = converters.load(arrays), rng.random((n_images + CALIBRATION, 20)).astype(np.float32)
        x[n_images : n_images + 2] = [[0.0], [1.0]]  # so that calibration has seen the whole range
        calibration, x = x[n_images:], x[:n_images]
        y = np.asarray(mlp.forward(x)).argmax(axis=1)
    else:
        from experiments.datasets import load_dataset

        data_dir = data_dir or os.environ.get("SPIKEPORT_DATA")
        mlp = converters.load(Path(data_dir or ".") / "mlp" / MODELS[name])
        data = load_dataset("mnist", data_dir)
        calibration, x, y = data.x_train[:CALIBRATION], data.x_test[:n_images], data.y_test[:n_images]
    network = converters.convert(mlp, calibration=calibration, method="percentile_norm")
    network.save(folder / "snn.npz")
    if name != "tiny":
        neuro.deploy(network, neuro.load_chip(CHIP)).save(folder / "deployment.npz")
    plain = {}
    before = 1.0  # threshold of the layer before: what one of its spikes stands for
    for i, (layer, population) in enumerate(zip(mlp.layers, network.populations, strict=True)):
        theta = float(population.v_threshold) if population.v_threshold is not None else 1.0
        plain[f"weight{i}"] = (np.asarray(layer.weight) * (before / theta)).astype(np.float32)
        plain[f"bias{i}"] = (np.asarray(layer.bias) / theta).astype(np.float32)
        before = theta
    np.savez(folder / "plain.npz", x=x.astype(np.float32), y=y, v_init=0.5, **plain)


@dataclass(frozen=True)
class Work:
    """One network and its inputs.

    ``weights``, ``biases``: float32, thresholds scaled to 1; neurons start at ``v_init`` and are reset by subtraction.
    """

    folder: Path
    x: np.ndarray
    y: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    v_init: float

    @property
    def sizes(self) -> list[int]:
        return [self.weights[0].shape[1], *(w.shape[0] for w in self.weights)]


def load(folder: Path) -> Work:
    with np.load(folder / "plain.npz") as file:
        n = sum(key.startswith("weight") for key in file)
        weights, biases = [file[f"weight{i}"] for i in range(n)], [file[f"bias{i}"] for i in range(n)]
        return Work(folder, file["x"], file["y"], weights, biases, float(file["v_init"]))
