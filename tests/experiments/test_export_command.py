"""The command export, and .nir files where a spiking network is expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployable import dense
from typer.testing import CliRunner

import neuro
from experiments import cli


def spikeport(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, list(words))
    return done.exit_code, done.output


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return dense([64, 12, 10]).save(tmp_path / "snn.npz")


def test_a_network_goes_out_and_comes_back(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    out = tmp_path / "snn.nir"
    status, text = spikeport("export", str(network), "--out", str(out), "--json")
    assert status == 0
    said = json.loads(text)
    assert said["format"] == "nir" and said["lost"] == [] and said["written"] == str(out)
    for source in (network, out):
        status, text = spikeport("deploy", str(source), "--out", str(tmp_path / f"{source.suffix[1:]}.dep"), "--json")
        assert status == 0, text
    deployed = [neuro.Deployment.load(tmp_path / f"{kind}.dep").network for kind in ("npz", "nir")]
    for a, b in zip(deployed[0].projections, deployed[1].projections, strict=True):
        assert (a.weight == b.weight).all()


def test_losses_are_refused_and_then_named(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("nir")
    neuro.deploy(neuro.SpikingNetwork.load(network), "loihi1").save(tmp_path / "dep.npz")
    words = ["export", str(tmp_path / "dep.npz"), "--out", str(tmp_path / "dep.nir")]
    status, text = spikeport(*words)
    assert status == 1 and "--lossy" in text and "rounds currents" in text and not (tmp_path / "dep.nir").exists()
    status, text = spikeport(*words, "--lossy", "--n-steps", "8")
    assert status == 0 and "lost" in text and (tmp_path / "dep.nir").exists()


def test_formats_settings_and_foreign_files_are_checked(network: Path, tmp_path: Path) -> None:
    assert "no exporter writes" in spikeport("export", str(network), "--out", str(tmp_path / "a.onnx"))[1]
    assert "nir_forn" in spikeport("export", str(network), "--out", str(tmp_path / "a.nir"), "--set", "export.nir_forn=if")[1]
    assert "'export' and 'load' only" in spikeport("export", str(network), "--out", str(tmp_path / "a.nir"), "--set", "run.n_steps=3")[1]
    pytest.importorskip("h5py")
    golden = Path(__file__).parents[1] / "converters" / "golden" / "sinabs.nir"
    status, text = spikeport("export", str(golden), "--out", str(tmp_path / "a.py"))
    assert status == 1 and "nir_dt" in text
    foreign = ["--set", "load.nir_dt=1", "--set", "load.nir_leak=exact", "--set", "load.nir_reset=subtract", "--set", "load.nir_input=[0,2]"]
    assert spikeport("export", str(golden), "--out", str(tmp_path / "a.py"), *foreign)[0] == 0
