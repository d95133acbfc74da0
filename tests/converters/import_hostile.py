"""Files that mean harm, and a program that loads them and measures what that took.

Run as a program it prints one JSON line a file: name, what was raised, seconds, and megabytes above what was there before.
Nothing in these files does harm: the code they carry only writes a file named in ``WITNESS``.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import import_models as models
import numpy as np

WITNESS = "code-of-a-file-was-run"
HUGE = 10**12

Case = Callable[[Path], Path]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def add(make: Case) -> Case:
        CASES[name] = make
        return make

    return add


class Evil:
    """An object whose unpickling writes the witness."""

    def __reduce__(self) -> Any:
        return open, (WITNESS, "w")


def entries(path: Path, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def rewritten(path: Path, changes: dict[str, bytes | Callable[[bytes], bytes]], drop: tuple[str, ...] = ()) -> Path:
    """Replace, add or drop entries of a zip file."""
    with zipfile.ZipFile(path) as archive:
        contents = {n: archive.read(n) for n in archive.namelist() if n not in drop}
    for name, change in changes.items():
        contents[name] = change(contents[name]) if callable(change) else change
    return entries(path, **contents)


def npy(array: Any, **settings: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **settings)
    return stream.getvalue()


def zeros(path: Path, name: str, megabytes: int, head: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as stream:
        stream.write(head)
        for _ in range(megabytes):
            stream.write(bytes(1 << 20))
    return path


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


# -- zip files of any kind --------------------------------------------------------------------------


@case("npz: unpacks to 200 MB of zeros")
def _(tmp: Path) -> Path:
    return zeros(tmp / "m.npz", "W0.npy", 200, header((52_428_800, 1)))


@case("npz: entry larger than it claims")
def _(tmp: Path) -> Path:
    path = zeros(tmp / "m.npz", "W0.npy", 40, header((10_485_760, 1)))
    data = path.read_bytes()
    true = (40 * (1 << 20) + 128).to_bytes(4, "little")
    path.write_bytes(data.replace(true, (4096).to_bytes(4, "little")))
    return path


@case("npz: pickled array")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.npz", **{"W0.npy": npy(np.array([Evil()], dtype=object), allow_pickle=True)})


@case("npz: claims more values than it holds")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.npz", **{"W0.npy": header((HUGE, HUGE)) + bytes(64)})


@case("npz: header nested deeply")
def _(tmp: Path) -> Path:
    text = ("(" * 4000 + ")" * 4000 + "\n").encode()
    return entries(tmp / "m.npz", **{"W0.npy": b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text})


@case("npz: 20,000 entries")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.npz", **{f"W{i}.npy": b"" for i in range(20_000)})


@case("npz: encrypted entries")
def _(tmp: Path) -> Path:
    path = entries(tmp / "m.npz", **{"W0.npy": npy(np.ones((3, 2)))})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


@case("npz: saved network nested deeply")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.npz", **{"header.json": b"[" * 100_000 + b"]" * 100_000})


@case("npz: saved network of 4 MB of brackets")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.npz", **{"header.json": b'{"a": [' + b"{}," * 1_300_000 + b"{}]}"})


@case("npz: saved network with sparse indices out of range")
def _(tmp: Path) -> Path:
    import scipy.sparse as sp

    from converters.mlp import MLP, Dense

    path = MLP((Dense(sp.csr_array(np.eye(5, dtype=np.float32)), np.zeros(5, np.float32), "identity"),)).save(tmp / "m.npz")
    return rewritten(path, {"layer0.weight.indices.npy": npy(np.array([0, 1, 2, 3, 2**31 - 1], np.int32))})


@case("npz: not a zip file")
def _(tmp: Path) -> Path:
    (tmp / "m.npz").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 10)
    return tmp / "m.npz"


# -- ONNX -------------------------------------------------------------------------------------------


def onnx_file(tmp: Path, nodes: list[Any], weights: dict[str, Any], shape: tuple[int, ...], **settings: Any) -> Path:
    return models.saved(models.onnx_model(nodes, weights, shape, **settings), tmp / "m.onnx")


def node(*given: Any, **settings: Any) -> Any:
    from onnx import helper

    return helper.make_node(*given, **settings)


def external(tmp: Path, location: str) -> Path:
    """Return a model whose weight lies at ``location``."""
    model = models.onnx_model([node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((4, 3), np.float32)}, (4,))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = 1
    weight.external_data.add(key="location", value=location)
    folder = tmp / "models"
    folder.mkdir()
    (tmp / "secret.bin").write_bytes(bytes(48))
    return models.saved(model, folder / "m.onnx")


@case("onnx: external data above its folder")
def _(tmp: Path) -> Path:
    return external(tmp, "../secret.bin")


@case("onnx: external data at an absolute path")
def _(tmp: Path) -> Path:
    return external(tmp, str(tmp / "secret.bin"))


@case("onnx: external data behind a symbolic link")
def _(tmp: Path) -> Path:
    path = external(tmp, "link.bin")
    (path.parent / "link.bin").symlink_to(tmp / "secret.bin")
    return path


@case("onnx: external data that is a device")
def _(tmp: Path) -> Path:
    return external(tmp, "/dev/zero")


@case("onnx: weight that claims 10^24 values")
def _(tmp: Path) -> Path:
    model = models.onnx_mlp(models.mlp_arrays())
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([HUGE, HUGE])
    return models.saved(model, tmp / "m.onnx")


@case("onnx: 6,000 nodes")
def _(tmp: Path) -> Path:
    names = ["x", *(f"t{i}" for i in range(5999)), "y"]
    return onnx_file(tmp, [node("Relu", [a], [b]) for a, b in zip(names, names[1:], strict=False)], {}, (4,))


@case("onnx: graphs inside graphs")
def _(tmp: Path) -> Path:
    def field(number: int, data: bytes) -> bytes:
        size, length = b"", len(data)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data

    graph = b""
    for _ in range(20_000):  # GraphProto.node[0].attribute[0].g
        graph = field(1, field(5, field(6, graph)))
    (tmp / "m.onnx").write_bytes(field(7, graph))
    return tmp / "m.onnx"


@case("onnx: constants that double")
def _(tmp: Path) -> Path:
    names = [f"c{i}" for i in range(60)]
    doubled = [node("Concat", [a, a], [b], axis=0) for a, b in zip(names, names[1:], strict=False)]
    return onnx_file(tmp, [*doubled, node("Reshape", ["x", names[-1]], ["y"])], {"c0": np.ones(4, np.int64)}, (4,))


@case("onnx: activations that double")
def _(tmp: Path) -> Path:
    names = ["x", *(f"c{i}" for i in range(60)), "y"]
    return onnx_file(tmp, [node("Concat", [a, a], [b], axis=1) for a, b in zip(names, names[1:], strict=False)], {}, (4,))


@case("onnx: padding to 10^12 values")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("Pad", ["x", "p"], ["y"])], {"p": np.array([0, 0, 0, HUGE])}, (4,))


@case("onnx: convolution of a large image")
def _(tmp: Path) -> Path:
    nodes = [node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    return onnx_file(tmp, nodes, {"w": np.ones((64, 1, 3, 3), np.float32)}, (1, 2000, 2000))


@case("onnx: convolution with one filter of a large image")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("Conv", ["x", "w"], ["y"])], {"w": np.ones((1, 1, 4, 4), np.float32)}, (1, 1100, 1100))


@case("onnx: convolution just within bounds, used many times")
def _(tmp: Path) -> Path:
    nodes = [node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])]
    for i in range(400):
        nodes += [node("Mul", ["c", f"k{i}"], [f"s{i}"]), node("Relu", [f"s{i}"], [f"r{i}"])]
    nodes += [node("Sum" if i else "Identity", [f"r{i}", f"t{i - 1}"] if i else ["r0"], [f"t{i}"]) for i in range(400)]
    weights = {f"k{i}": np.float32(i + 2) for i in range(400)} | {"w": np.ones((4, 1, 3, 3), np.float32)}
    return onnx_file(tmp, nodes, weights, (1, 500, 500), out="t399")


@case("onnx: the same weights in many layers")
def _(tmp: Path) -> Path:
    nodes = [node("Gemm", ["x", "w"], ["z"])] + [node("Relu", ["z"], [f"r{i}"]) for i in range(800)]
    nodes += [node("Add" if i else "Identity", [f"r{i}", f"t{i - 1}"] if i else ["r0"], [f"t{i}"]) for i in range(800)]
    return onnx_file(tmp, nodes, {"w": np.ones((1000, 1000), np.float32)}, (1000,), out="t799")


@case("onnx: outer product")
def _(tmp: Path) -> Path:
    nodes = [node("MatMul", ["x", "v"], ["z"]), node("MatMul", ["z", "w"], ["y"])]
    return onnx_file(tmp, nodes, {"v": np.ones((50_000, 1), np.float32), "w": np.ones((1, 50_000), np.float32)}, (50_000,))


@case("onnx: input of 10^12 values")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("Relu", ["x"], ["y"])], {}, (HUGE,))


@case("onnx: tensor given twice")
def _(tmp: Path) -> Path:
    weights = {"w": np.ones((4, 4), np.float32)}
    return onnx_file(tmp, [node("MatMul", ["x", "w"], ["z"]), node("Relu", ["z"], ["y"]), node("MatMul", ["x", "w"], ["y"])], weights, (4,))


@case("onnx: node that reads its own output")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("Add", ["x", "b"], ["a"]), node("Add", ["a", "y"], ["b"]), node("Relu", ["b"], ["y"])], {}, (4,))


@case("onnx: operator of another domain")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("PyOp", ["x"], ["y"], domain="evil", code="import os")], {}, (4,))


@case("onnx: operator set of the future")
def _(tmp: Path) -> Path:
    return onnx_file(tmp, [node("Relu", ["x"], ["y"])], {}, (4,), opset=99)


@case("onnx: random bytes")
def _(tmp: Path) -> Path:
    (tmp / "m.onnx").write_bytes(np.random.default_rng(0).bytes(100_000))
    return tmp / "m.onnx"


@case("onnx: cut off")
def _(tmp: Path) -> Path:
    path = models.saved(models.onnx_mlp(models.mlp_arrays()), tmp / "m.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    return path


# -- PyTorch ----------------------------------------------------------------------------------------


@case("torch: pickled module")
def _(tmp: Path) -> Path:
    import torch

    torch.save(torch.nn.Linear(2, 2), tmp / "m.pt")
    return tmp / "m.pt"


@case("torch: pickle that calls a function")
def _(tmp: Path) -> Path:
    import torch

    torch.save({"weight": torch.ones(2, 2)}, tmp / "m.pt")
    return rewritten(tmp / "m.pt", {"m/data.pkl": pickle.dumps(Evil())})


@case("torch: old pickle without a zip file")
def _(tmp: Path) -> Path:
    (tmp / "m.pt").write_bytes(pickle.dumps(Evil()))
    return tmp / "m.pt"


@case("torch: shared tuples that take for ever to hash")
def _(tmp: Path) -> Path:
    import torch

    opcodes = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01"
    for i in range(60):
        opcodes += b"h" + bytes([i + 1]) + b"h" + bytes([i + 1]) + b"\x86q" + bytes([i + 2])
    opcodes = opcodes + b"K\x01s."
    torch.save({"weight": torch.ones(2, 2)}, tmp / "m.pt")
    return rewritten(tmp / "m.pt", {"m/data.pkl": opcodes})


@case("torch: tensor of one stored value that claims 10^10")
def _(tmp: Path) -> Path:
    import torch

    torch.save({"0.weight": torch.ones(1).expand(100_000, 100_000), "0.bias": torch.ones(1).expand(100_000)}, tmp / "m.pt")
    return tmp / "m.pt"


@case("torch: TorchScript")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.pt", **{"m/data.pkl": pickle.dumps({}), "m/code/__torch__.py": b"def forward(self): pass"})


def _pt2(tmp: Path) -> Path:
    import torch

    program = torch.export.export(models.torch_mlp(models.mlp_arrays()), (torch.zeros(2, 20),))
    torch.export.save(program, tmp / "m.pt2")
    return tmp / "m.pt2"


def _weights(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def edit(data: bytes) -> bytes:
        config = json.loads(data)
        change(next(iter(config["config"].values())))
        return json.dumps(config).encode()

    return {"m/data/weights/model_weights_config.json": edit}


@case("torch: .pt2 with a pickled weight")
def _(tmp: Path) -> Path:
    return rewritten(_pt2(tmp), _weights(lambda entry: entry.update(use_pickle=True)))


@case("torch: .pt2 whose weight claims 10^24 values")
def _(tmp: Path) -> Path:
    sizes = {"sizes": [{"as_int": HUGE}] * 2, "strides": [{"as_int": 0}] * 2}
    return rewritten(_pt2(tmp), _weights(lambda entry: entry["tensor_meta"].update(sizes)))


@case("torch: .pt2 with negative strides")
def _(tmp: Path) -> Path:
    return rewritten(_pt2(tmp), _weights(lambda entry: entry["tensor_meta"].update(strides=[{"as_int": -(10**6)}, {"as_int": 1}])))


@case("torch: .pt2 of an older release, with pickles")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.pt2", **{"serialized_state_dict.pt": pickle.dumps(Evil()), "serialized_exported_program.json": b"{}"})


@case("torch: .pt2 with unknown operators that run code")
def _(tmp: Path) -> Path:
    return rewritten(_pt2(tmp), {"m/models/model.json": lambda data: data.replace(b"torch.ops.aten.relu.default", b"os.system")})


@case("torch: .pt2 nested deeply")
def _(tmp: Path) -> Path:
    return rewritten(_pt2(tmp), {"m/models/model.json": b'{"a":' * 900 + b"1" + b"}" * 900})


# -- Keras ------------------------------------------------------------------------------------------


def dense(name: str, units: int = 3, **settings: Any) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "dtype": "float32", "units": units, "activation": "linear", "use_bias": False, **settings}
    return {"module": "keras.layers", "class_name": "Dense", "config": config, "registered_name": None}


def input_layer(*shape: int) -> dict[str, Any]:
    config = {"batch_shape": [None, *shape], "dtype": "float32", "sparse": False, "name": "input"}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config, "registered_name": None}


def keras_file(tmp: Path, layers: list[Any], fill: Callable[[Any], None] | None = None, raw: bytes = b"") -> Path:
    """Write a .keras file without Keras; ``fill`` changes its weights file, which holds layers/dense of (4, 3) ones."""
    import h5py

    if not raw:
        with h5py.File(tmp / "w.h5", "w") as file:
            file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
            if fill is not None:
                fill(file)
        raw = (tmp / "w.h5").read_bytes()
    body = {"name": "sequential", "trainable": True, "layers": layers, "build_input_shape": [None, 4]}
    config = {"module": "keras", "class_name": "Sequential", "config": body, "registered_name": None}
    parts = {"metadata.json": b'{"keras_version": "3.5.0"}', "config.json": json.dumps(config).encode(), "model.weights.h5": raw}
    return entries(tmp / "m.keras", **parts)


@case("keras: Lambda layer")
def _(tmp: Path) -> Path:
    code = base64.b64encode(b"code").decode()
    function = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": function}, "registered_name": None}
    return keras_file(tmp, [input_layer(4), layer, dense("dense")])


@case("keras: class of a module of Python's")
def _(tmp: Path) -> Path:
    layer = {"module": "os", "class_name": "system", "config": {"name": "l", "command": f"touch {WITNESS}"}, "registered_name": "system"}
    return keras_file(tmp, [input_layer(4), layer, dense("dense")])


@case("keras: known class under another module")
def _(tmp: Path) -> Path:
    return keras_file(tmp, [input_layer(4), dense("dense") | {"module": "builtins"}])


@case("keras: registered object")
def _(tmp: Path) -> Path:
    return keras_file(tmp, [input_layer(4), dense("dense") | {"registered_name": "Evil>Dense"}])


@case("keras: activation that is a function")
def _(tmp: Path) -> Path:
    function = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    return keras_file(tmp, [input_layer(4), dense("dense", activation=function)])


@case("keras: layer of 10^9 units")
def _(tmp: Path) -> Path:
    return keras_file(tmp, [input_layer(4), dense("dense", 10**9)])


@case("keras: initialiser that would run code")
def _(tmp: Path) -> Path:
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {WITNESS}"}, "registered_name": None}
    layers = [input_layer(4), dense("dense", kernel_initializer=evil), dense("other", kernel_initializer=evil)]
    return keras_file(tmp, layers)


@case("keras: models inside models")
def _(tmp: Path) -> Path:
    layers = [input_layer(4), dense("dense")]
    for i in range(10):
        body = {"name": f"s{i}", "layers": layers, "build_input_shape": [None, 4]}
        layers = [input_layer(4), {"module": "keras", "class_name": "Sequential", "config": body, "registered_name": None}]
    return keras_file(tmp, layers)


@case("keras: input of 10^12 values")
def _(tmp: Path) -> Path:
    return keras_file(tmp, [input_layer(HUGE), dense("dense")])


@case("keras: 4 MB of brackets")
def _(tmp: Path) -> Path:
    path = keras_file(tmp, [])
    return rewritten(path, {"config.json": b"[" + b"{}," * 1_300_000 + b"{}]"})


@case("keras: weights behind a link to another file")
def _(tmp: Path) -> Path:
    import h5py

    def fill(file: Any) -> None:
        file["layers/other/vars/0"] = h5py.ExternalLink("/etc/hostname", "/")

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: weights in an external file")
def _(tmp: Path) -> Path:
    def fill(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (4, 3), "f4", external=[("/etc/hostname", 0, 48)])

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: virtual weights")
def _(tmp: Path) -> Path:
    import h5py

    def fill(file: Any) -> None:
        del file["layers/dense/vars/0"]
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource("/etc/hostname", "a", (4, 3))
        file.create_virtual_dataset("layers/dense/vars/0", layout)

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: weights that claim 10 TB")
def _(tmp: Path) -> Path:
    def fill(file: Any) -> None:
        file.create_dataset("layers/dense_1/vars/0", (HUGE, 3), "f4", chunks=(1024, 3), compression="gzip")

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: chunks that claim 1.6 GB")
def _(tmp: Path) -> Path:
    def fill(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (4, 3), "f4", chunks=(1 << 27, 3), maxshape=(None, 3), compression="gzip")

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: group that contains itself")
def _(tmp: Path) -> Path:
    def fill(file: Any) -> None:
        file["layers/loop/again"] = file["layers"]

    return keras_file(tmp, [input_layer(4), dense("dense")], fill)


@case("keras: weights file of random bytes")
def _(tmp: Path) -> Path:
    return keras_file(tmp, [input_layer(4), dense("dense")], raw=b"\x89HDF\r\n\x1a\n" + np.random.default_rng(0).bytes(5000))


# -- scikit-learn -----------------------------------------------------------------------------------


def skops_node(kind: str, attributes: Any, module: str = "sklearn.neural_network._multilayer_perceptron", **more: Any) -> dict[str, Any]:
    return {"__class__": kind, "__module__": module, "__loader__": "ObjectNode", "content": attributes, **more}


def plain(value: Any) -> dict[str, Any]:
    return {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": json.dumps(value)}


def listed(items: list[Any], **more: Any) -> dict[str, Any]:
    return {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": items, **more}


def mapping(**items: Any) -> dict[str, Any]:
    return {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": items, "key_types": {}}


def skops_file(tmp: Path, schema: Any) -> Path:
    return entries(tmp / "m.skops", **{"schema.json": json.dumps(schema).encode()})


def doubling() -> dict[str, Any]:
    """Return nodes of a list whose last item holds the one before it twice, and so on: 2^40 values in all."""
    again = {"__loader__": "CachedNode", "__class__": "", "__module__": ""}
    items = [listed([plain(1.0)], __id__=0)]
    for i in range(40):
        items.append(listed([again | {"__id__": i}] * 2, __id__=i + 1))
    return listed(items)


@case("sklearn: pickle by another name")
def _(tmp: Path) -> Path:
    (tmp / "m.skops").write_bytes(pickle.dumps(Evil()))
    return tmp / "m.skops"


@case("sklearn: function of a module of Python's")
def _(tmp: Path) -> Path:
    return skops_file(tmp, {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "content": "x"})


@case("sklearn: object that would be reduced")
def _(tmp: Path) -> Path:
    step = {
        "__class__": "system",
        "__module__": "posix",
        "__loader__": "ReduceNode",
        "reduce": {"args": plain([f"touch {WITNESS}"])},
        "content": None,
    }
    steps = listed([listed([plain("a"), step])])
    return skops_file(tmp, skops_node("Pipeline", mapping(steps=steps), "sklearn.pipeline"))


@case("sklearn: lists that double")
def _(tmp: Path) -> Path:
    words = {"activation": doubling(), "out_activation_": plain("softmax"), "classes_": plain("ab")}
    return skops_file(tmp, skops_node("MLPClassifier", mapping(**words, coefs_=listed([]), intercepts_=listed([]))))


@case("sklearn: classes that double")
def _(tmp: Path) -> Path:
    words = {"activation": plain("relu"), "out_activation_": plain("softmax"), "classes_": doubling()}
    return skops_file(tmp, skops_node("MLPClassifier", mapping(**words, coefs_=listed([]), intercepts_=listed([]))))


@case("sklearn: weights that double")
def _(tmp: Path) -> Path:
    words = {"activation": plain("relu"), "out_activation_": plain("softmax"), "classes_": plain("ab")}
    weights = listed([doubling()])
    return skops_file(tmp, skops_node("MLPClassifier", mapping(**words, coefs_=weights, intercepts_=listed([plain(1)]))))


@case("sklearn: Pipelines that double")
def _(tmp: Path) -> Path:
    again = {"__loader__": "CachedNode", "__class__": "", "__module__": ""}
    inner: dict[str, Any] = skops_node("PCA", mapping(), "sklearn.decomposition", __id__=0)
    for i in range(6):
        steps = listed([listed([plain("a"), inner]), *([listed([plain("b"), again | {"__id__": i}])] * 500)])
        inner = skops_node("Pipeline", mapping(steps=steps), "sklearn.pipeline", __id__=i + 1)
    return skops_file(tmp, inner)


@case("sklearn: nested deeply")
def _(tmp: Path) -> Path:
    return entries(tmp / "m.skops", **{"schema.json": b'{"content":' * 5000 + b"1" + b"}" * 5000})


# -- measuring --------------------------------------------------------------------------------------


def resident(field: str = "VmHWM") -> float:
    """Return [MB] of memory; the high-water mark since the last call of ``forget``."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(folder: Path) -> None:
    """Load every file and print what came of it."""
    import converters
    from converters.importers import LoadOptions
    from neuro.errors import UnsupportedModelError

    os.environ.setdefault("KERAS_BACKEND", "torch")
    # The packages that importers load are there before anything is measured.
    import onnxruntime
    import sklearn.neural_network
    import torch

    del onnxruntime, sklearn
    torch.set_num_threads(1)
    converters.load(models.onnx_mlp(models.mlp_arrays()))
    try:
        converters.load(models.keras_mlp(models.mlp_arrays()))
    except ImportError:
        pass
    for index, (name, make) in enumerate(CASES.items()):
        place = folder / str(index)
        place.mkdir()
        file = make(place)
        settings = LoadOptions(activation="relu") if file.suffix == ".pt" else LoadOptions()
        forget()
        before, start, raised = resident("VmRSS"), time.perf_counter(), "nothing"
        cpu = time.process_time()
        try:
            converters.load(file, options=settings)
        except Exception as error:
            raised = type(error).__name__ if type(error) is not UnsupportedModelError else "UnsupportedModelError"
            message = str(error)
        else:
            message = ""
        took, used = time.perf_counter() - start, time.process_time() - cpu
        row = {"name": name, "raised": raised, "message": message[:500], "seconds": took, "cpu": used, "megabytes": resident() - before}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
