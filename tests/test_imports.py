"""Who may import whom, read from the imports of every file; and what loading the packages loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("neuro", "converters", "experiments")
OURS = (*PACKAGES, "tests")
MAY_IMPORT = {"neuro": {"neuro"}, "converters": {"converters", "neuro"}, "experiments": set(PACKAGES)}

# Library -> the files (or folders, with a slash at the end) that may import it.
CONFINED = {
    "brian2": ("neuro/engines/",),
    "altair": ("experiments/charts.py",),
    "typer": ("experiments/cli.py",),
    "rich": ("experiments/cli.py",),
}
# Frameworks of trained networks: only in importers and exporters, and there only inside functions.
FRAMEWORKS = {"torch", "onnx", "onnxruntime", "keras", "tensorflow", "sklearn", "skops", "nir"}
BRIDGES = ("converters/importers/", "converters/exporters/")

HEAVY = (
    "brian2",
    "altair",
    "vl_convert",
    "torch",
    "onnx",
    "onnxruntime",
    "keras",
    "tensorflow",
    "sklearn",
    "nir",
    "dask",
)


@dataclass(frozen=True)
class Import:
    """One import: the top-level name it loads, its line, and whether it runs when the file is imported."""

    name: str
    line: int
    at_load: bool


def imports(source: str, package: str) -> list[Import]:
    """Return all imports of a file of ``package``: statements, and import_module or __import__ of a literal."""
    found: list[Import] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name.split(".")[0], node.lineno, not inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = package if node.level else (node.module or "").split(".")[0]
            found.append(Import(name, node.lineno, not inside))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if called in ("import_module", "__import__") and isinstance(value, str):
                found.append(Import(value.split(".")[0] or package, node.lineno, not inside))
        typing_only = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside or function or typing_only)

    visit(ast.parse(source), False)
    return found


def violations(path: str, source: str) -> list[str]:
    """Return what the file at ``path`` (relative to the checkout) imports against the rules."""
    package = path.split("/")[0]
    causes = []
    for item in imports(source, package):
        where = f"{path}:{item.line} imports {item.name}"
        if item.name in OURS and item.name not in MAY_IMPORT[package]:
            causes.append(where)
        if item.name in CONFINED and not path.startswith(CONFINED[item.name]):
            causes.append(f"{where}, allowed in {', '.join(CONFINED[item.name])} only")
        if item.name in FRAMEWORKS:
            if not path.startswith(BRIDGES):
                causes.append(f"{where}, allowed in {', '.join(BRIDGES)} only")
            elif item.at_load:
                causes.append(f"{where} when it loads, allowed inside functions only")
    return causes


def files() -> list[str]:
    """Return every Python file of the packages, relative to the checkout."""
    return sorted(p.relative_to(ROOT).as_posix() for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files())
def test_boundaries(path: str) -> None:
    assert not violations(path, (ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("neuro/x.py", "import converters"),
        ("neuro/x.py", "def f():\n    from converters.mlp import MLP"),
        ("neuro/x.py", "import brian2"),
        ("neuro/x.py", "import importlib\nimportlib.import_module('brian2')"),
        ("converters/x.py", "from experiments import runner"),
        ("experiments/x.py", "import tests"),
        ("experiments/report/pages.py", "import rich.table"),
        ("experiments/report/pages.py", "from altair import Chart"),
        ("converters/importers/from_onnx.py", "import onnx"),
        ("converters/importers/from_onnx.py", "class A:\n    import onnx"),
        ("converters/convert.py", "def f():\n    import torch"),
    ],
)
def test_rules_catch(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("neuro/engines/x.py", "import brian2"),
        ("converters/x.py", "import neuro\nfrom . import mlp\nfrom .methods import ltb"),
        ("experiments/x.py", "import neuro, converters\nfrom .config import Trial"),
        ("converters/importers/from_onnx.py", "def load(path):\n    import onnx"),
    ],
)
def test_rules_allow(path: str, source: str) -> None:
    assert not violations(path, source)


def loaded(code: str) -> set[str]:
    """Return the top-level modules in sys.modules after ``code`` ran in a fresh interpreter."""
    report = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_packages_load_light() -> None:
    names = loaded("import neuro, converters")
    assert {"neuro", "converters", "numpy"} <= names
    assert not names & set(HEAVY)


def test_help_loads_light() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['spikeport', '--help']\n"
        "from experiments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    )
    names = loaded(code)
    assert "typer" in names
    assert not names & {*HEAVY, "numpy", "scipy", "numba"}
