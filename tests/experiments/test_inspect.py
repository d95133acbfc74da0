"""``spikeport inspect``: the layers of a trained network, what became of each part of its source, and how far they agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import spikeport
from deployable import dense

import converters
import neuro
from converters.importers import LoadOptions
from experiments.summaries import model_lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model() -> Any:
    onnx = pytest.importorskip("onnx")
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    ones = {"w": (2, 1, 3, 3), "b": (2,), "s": (2,), "m": (2,), "v": (2,), "fc": (8, 3)}
    weights = [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in ones.items()]
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="conv1"),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["h"]),
        node("AveragePool", ["h"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc"], ["z"], name="fc1"),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    graph = onnx.helper.make_graph(nodes, "net", [info("x", 1, ["n", 1, 6, 6])], [info("y", 1, None)], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def test_every_part_of_the_source_is_accounted_for(model: Any) -> None:
    mlp = converters.load(model, options=LoadOptions(layout="NHWC", scale=(255,), classes=("a", "b", "c")))
    lines, facts = model_lines(mlp, "m.onnx")
    parts = {part["node"]: part["becomes"] for part in facts["parts"]}
    assert parts == {
        "node 0 Conv 'conv1'": "part of layer 1 (conv1)",
        "node 1 BatchNormalization": "part of layer 1 (conv1)",
        "node 2 Relu": "part of layer 1 (conv1)",
        "node 3 AveragePool 'pool'": "part of layer 2 (fc1)",
        "node 4 Flatten": "nothing: it changes no value",
        "node 5 Gemm 'fc1'": "part of layer 2 (fc1)",
        "node 6 Softmax": "left out: the largest output is the same without it",
    }
    text = "\n".join(lines)
    assert lines[0] == "m.onnx: 36-32-3, classification, 419 parameters"
    assert "36 -> 32" in text and "32 integrate-and-fire neurons" in text and "3 neurons that only integrate: the read-out" in text
    assert "input: 6 x 6 x 1 (NHWC)" in text and "scale 255" in text and "classes: a, b, c" in text
    assert f"compared with {facts['info']['verification']['judge']} on 16 samples" in text
    assert facts["layers"][0]["parameters"] == 16 * 9 * 2 + 32


def test_the_command_prints_and_gives_json(model: Any, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from experiments.cli import main; main()"
    command = [sys.executable, "-c", code, "inspect", "m.onnx", "--json", "--set", "load.classes=['a','b','c']"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["sizes"] == [36, 32, 3] and facts["classes"] == ["a", "b", "c"]
    assert facts["info"]["verification"]["samples"] == 16


GOLDEN = ROOT / "tests" / "converters" / "golden"


def test_a_nir_file_shows_populations_projections_and_nodes(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    done = spikeport("inspect", str(GOLDEN / "snntorch_recurrent.nir"), "--set", "load.nir_dt=1e-4", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0].endswith("snntorch_recurrent.nir: a spiking network already, 5-6, classification, 66 synapses")
    assert "1.lif 6 leak_exact x 0.8, integrate, fire, zero v > 1 0 -0.7964 to -0.0153 0" in lines
    assert "input -> 1.lif 6 x 5 30 none" in lines
    assert "1.lif -> 1.lif 6 x 6 36 1 step; returns within the input after 1 step" in lines
    assert "node '1.w_rec' Affine part of 1.lif -> 1.lif" in lines
    assert lines[-1].startswith("floating point")


def test_networks_and_deployments_of_ours_are_shown_too(tmp_path: Path) -> None:
    network = dense([6, 5, 3])
    network.save(tmp_path / "snn.npz")
    neuro.deploy(network, "loihi1").save(tmp_path / "deployment.npz")
    said = json.loads(spikeport("inspect", "snn.npz", "--json", cwd=tmp_path).out)
    assert said["sha256"] == network.sha256 and said["exact"] and [p["neurons"] for p in said["populations"]] == ["5", "3"]
    assert "a spiking network on loihi1, 6-5-3" in spikeport("inspect", "deployment.npz", cwd=tmp_path).out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.nir", None, "missing.nir: no such file"),
        ("text.nir", b"not HDF5", "text.nir: not a readable HDF5 file"),
        ("empty.nir", b"", "empty.nir: "),
        ("cut.nir", 3000, "cut.nir: "),
        ("cut.npz", b"PK\x03\x04", "cut.npz: "),
    ],
)
def test_mistakes_are_one_line(name: str, content: Any, words: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    if content is not None:
        whole = (GOLDEN / "snntorch.nir").read_bytes()
        (tmp_path / name).write_bytes(whole[:content] if isinstance(content, int) else content)
    done = spikeport("inspect", name, cwd=tmp_path, status=1)
    assert done.err.count("\n") == 1 and words in done.err and not done.out


def test_an_unknown_node_is_named(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    h5py = pytest.importorskip("h5py")
    n = np.ones(3)
    nodes = {"in": nir.Input([3]), "cell": nir.IF(r=n, v_threshold=n), "out": nir.Output([3])}
    nir.write(tmp_path / "odd.nir", nir.NIRGraph(nodes, [("in", "cell"), ("cell", "out")]))
    with h5py.File(tmp_path / "odd.nir", "r+") as file:
        del file["node/nodes/cell/type"]
        file["node/nodes/cell/type"] = "Hopfield"
    done = spikeport("inspect", "odd.nir", cwd=tmp_path, status=1)
    assert "node 'cell'  Hopfield  is no node that can be read; known are" in done.err and "Nothing was loaded" in done.err
