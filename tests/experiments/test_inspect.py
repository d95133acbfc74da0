"""``spikeport inspect``: the layers of a trained network, what became of each part of its source, and how far they agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import converters
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
