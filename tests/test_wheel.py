"""The wheel alone: built, installed in an empty environment, used from a folder outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SHIPPED = (
    "neuro/chips/loihi1.toml",
    "neuro/machines.toml",
    "experiments/configs/digits.toml",
    "experiments/configs/mnist.toml",
    "experiments/report/templates/page.html.j2",
    "experiments/datasets/files/digits.npz",
)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of the checkout; it must succeed."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SPIKEPORT_DATA")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=clean)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: a build in the checkout would leave folders behind, and take in old ones.
    source = folder / "source"
    source.mkdir()
    tracked = run("git", "-c", "safe.directory=*", "ls-files", cwd=root).stdout.splitlines() if (root / ".git").exists() else None
    files = tracked or [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and ".venv" not in p.parts]
    for name in files:
        if (root / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((root / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("spikeport-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_what_it_needs_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in SHIPPED if name not in names] == []
    assert [name for name in names if name.startswith(("tests", "benchmarks", "docs"))] == []


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(tmp_path / "env" / "bin" / "spikeport", "demo", cwd=elsewhere)
    assert done.stderr == ""
    assert "on loihi1, T = 8" in done.stdout
    assert (elsewhere / "spikeport-demo" / "report.html").read_text().rstrip().endswith("</html>")
    where = run(python, "-c", "import experiments; print(experiments.__file__)", cwd=elsewhere).stdout
    assert where.startswith(str(tmp_path / "env"))
