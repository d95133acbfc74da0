"""The command line as people use it: every stage from file to file, mistakes in one line, clean output in pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def spikeport(*arguments: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from experiments.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    spikeport("train", "digits", "--hidden", "24", "--set", "train.epochs=8", "--out", "mlp.npz", cwd=folder)
    spikeport("convert", "mlp.npz", "--calibration", "digits", "--out", "snn.npz", cwd=folder)
    spikeport("deploy", "snn.npz", "--chip", "loihi1", "--out", "deployment.npz", cwd=folder)
    return folder


@pytest.mark.parametrize("network", ["snn.npz", "deployment.npz"])
def test_every_stage_takes_files_and_gives_files(stages: Path, network: str) -> None:
    done = spikeport("run", network, "--data", "digits", "--n-steps", "8", "--json", "--out", "recording.npz", cwd=stages)
    facts = json.loads(done.stdout)
    assert facts["samples"] == 450
    assert facts["accuracy"][0] > 0.85
    assert (stages / "recording.npz").exists()
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("convert", "absent.npz", "--calibration", "digits", "--out", "x.npz"), ("absent.npz", "no such file")),
        (("convert", "mlp.npz", "--calibration", "digit", "--out", "x.npz"), ("digit", "did you mean 'digits'")),
        (("convert", "mlp.npz", "--calibration", "digits", "--method", "ltbb", "--out", "x.npz"), ("ltbb", "ltb")),
        (("deploy", "mlp.npz", "--out", "x.npz"), ("a trained network", "expected a spiking network")),
        (("deploy", "snn.npz", "--chip", "loihi", "--out", "x.npz"), ("loihi", "loihi1")),
        (("run", "snn.npz", "--data", "digits", "--n-steps", "0", "--out", "x.npz"), ("n_steps: 0", ">= 1")),
        (("run", "snn.npz", "--data", "digits", "--engine", "batch", "--out", "x.npz"), ("did you mean 'batched'",)),
        (("compare", "digit.toml", "--out", "x"), ("digit.toml", "did you mean 'digits.toml'")),
        (("compare", "demo.toml", "--set", "convert.metod=ltb", "--out", "x"), ("convert.metod is not a setting",)),
        (("list", "engine"), ("did you mean 'engines'",)),
    ],
)
def test_a_mistake_gets_a_message_and_leaves_nothing(stages: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    before = sorted(stages.iterdir())
    done = spikeport(*arguments, cwd=stages, status=1)
    assert done.stderr.startswith("spikeport: ")
    for word in words:
        assert word in done.stderr
    assert sorted(p for p in stages.iterdir() if p.name != "x") == sorted(p for p in before if p.name != "x")
    assert not (stages / "x.npz").exists()


@pytest.mark.parametrize("kind", ["datasets", "methods", "engines", "encodings", "readouts", "rules", "chips", "importers", "configs"])
def test_lists_have_a_line_for_each_name(kind: str, tmp_path: Path) -> None:
    lines = spikeport("list", kind, cwd=tmp_path).stdout.splitlines()
    assert len(lines) >= 2
    assert all(len(line.split(None, 1)) == 2 for line in lines), lines


def test_a_chip_is_shown_with_its_sources(tmp_path: Path) -> None:
    text = spikeport("chip", "loihi1", cwd=tmp_path).stdout
    assert "23.6 pJ" in text and "10.1109/MM.2018.112130359" in text


def test_help_of_every_command_ends_with_an_example(tmp_path: Path) -> None:
    for name in ("demo", "train", "convert", "deploy", "run", "compare", "report", "list", "chip", "check"):
        assert f"Example:  spikeport {name}" in spikeport(name, "--help", cwd=tmp_path).stdout


def test_the_installation_is_checked(tmp_path: Path) -> None:
    assert "engines" in spikeport("check", cwd=tmp_path).stdout


@pytest.mark.slow
def test_the_demo_ends_in_a_page(tmp_path: Path) -> None:
    text = spikeport("demo", "--out", "demo", cwd=tmp_path).stdout
    assert "on loihi1, T = 8" in text and "McNemar" in text
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "</html>" in page
    assert "spiking, ideal" in page
