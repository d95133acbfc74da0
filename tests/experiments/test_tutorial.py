"""The tutorial runs from its first cell to its last, and shows what it promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_tutorial_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("pandas")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))))
    notebook = nbformat.read(root / "docs" / "tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    comparison = next(data for data in shown if "text/html" in data)
    assert "On loihi1 with T =" in comparison["text/html"] and "<table>" in comparison["text/html"]
    assert sum("image/svg+xml" in data for data in shown) == 2
    errors = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    assert errors == []
