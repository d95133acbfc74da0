"""Whole numbers read by hand, Brian2 scripts run by themselves, and the table of exporters."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployable import dense, sparse
from hypothesis import HealthCheck, given, settings
from strategies import cases

import neuro
from converters.exporters import EXPORTERS, ExportOptions, export, exporter_of
from neuro.encoding import with_encoder
from neuro.engines import Record, simulate
from neuro.errors import ConversionError, SpecError
from neuro.network import Protocol

T = 8


def spikes(value: Any, x: np.ndarray, n_steps: int = T, readout: str = "potential") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return {population: sorted spikes (sample, step, neuron)} and outputs, by the reference engine."""
    network = getattr(value, "network", value)
    names = tuple(p.name for p in network.populations if p.spiking)
    recording = simulate(value, x, n_steps, engine="reference", readout=readout, record=Record(spikes=names))
    return {name: ordered(table) for name, table in recording.spikes.items()}, recording.outputs


def ordered(table: np.ndarray) -> np.ndarray:
    return table[np.lexsort(table.T[::-1])]


# -- whole numbers ----------------------------------------------------------------------------------


def by_hand(folder: Path, x: np.ndarray, n_steps: int) -> np.ndarray:
    """Return spikes of every population per sample and neuron, and the outputs, from docs/export.md alone."""
    said = json.loads((folder / "chip.json").read_text())
    held = np.load(folder / "chip.npz", allow_pickle=False)
    assert all(held[name].dtype.kind in "i" for p in said["populations"] for k, name in p["arrays"].items() if k != "unit")
    sent: dict[str, list[np.ndarray]] = {}
    for p in said["populations"]:
        arrays = {k: held[name] for k, name in p["arrays"].items()}
        v = np.tile(arrays["v_init"].astype(np.int64), (len(x), 1))
        drive = np.zeros((len(x), p["size"]), np.int64) + arrays.get("bias", np.zeros(p["size"], np.int64))
        for port in said["ports"]:
            if port["post"] == p["name"]:
                z = x @ held[port["arrays"]["weight"]].T
                assert port["rounding"] == "register"
                step, limit = 2.0 ** port["exponent"], port["mantissa_max"]
                z = z + held[port["arrays"]["offset"]]
                if "limit" in port["arrays"]:
                    z = np.clip(z, -held[port["arrays"]["limit"]], held[port["arrays"]["limit"]])
                drive = drive + (np.clip(np.rint(z / step), -limit, limit) * step).astype(np.int64)
        sent[p["name"]] = []
        for k in range(n_steps):
            v = v + drive
            for j in said["projections"]:
                if j["post"] == p["name"]:
                    assert j["layout"] == "dense" and j["delay"] == p["start"] - next(q["start"] for q in said["populations"] if q["name"] == j["pre"])
                    weight = held[j["arrays"]["weight"]].astype(np.int64)
                    assert (weight % int(j["weight_unit"]) == 0).all()
                    v = v + sent[j["pre"]][k] @ weight.T
            if p["reset"] is None:
                continue
            theta = arrays["v_threshold"]
            n = (v > theta if p["comparison"] == ">" else v >= theta).astype(np.int64)
            v = v - n * theta if p["reset"] == "subtract" else v * (1 - n)
            sent[p["name"]].append(n)
        last = (v - arrays["v_init"]) * arrays["unit"] / n_steps
    return last


def test_a_reader_of_the_documents_gets_the_same_outputs(tmp_path: Path) -> None:
    deployment = neuro.deploy(dense([6, 9, 7, 4]), "loihi1")
    x = np.random.default_rng(0).random((25, 6))
    export(deployment, tmp_path / "chip.npz", options=ExportOptions(n_steps=T))
    np.testing.assert_allclose(by_hand(tmp_path, x, T), spikes(deployment, x)[1], rtol=1e-12)


def test_placement_names_the_core_of_every_neuron(tmp_path: Path) -> None:
    deployment = neuro.deploy(dense([6, 900, 4]), "loihi1")
    export(deployment, tmp_path / "chip.npz")
    said, held = json.loads((tmp_path / "chip.json").read_text()), np.load(tmp_path / "chip.npz")
    place = said["placement"]
    for name, key in place["arrays"].items():
        cores = held[key]
        for part in (q | {"core": c["core"]} for c in place["cores"] for q in c["parts"] if q["population"] == name):
            assert (cores[part["first"] : part["last"]] == part["core"]).all()
    assert len(place["cores"]) == len(deployment.placement.cores) and said["chip"] == "loihi1"


def test_an_ideal_network_is_whole_numbers_of_its_grid(tmp_path: Path) -> None:
    network = sparse(dense([5, 8, 6, 3]), 0.5)
    done = export(network, tmp_path / "a.npz")
    said, held = json.loads((tmp_path / "a.json").read_text()), np.load(tmp_path / "a.npz")
    assert said["placement"] is None and any("no chip" in note for note in done.notes)
    assert {j["layout"] for j in said["projections"]} == {"csr"}
    assert (held["hidden1.v_threshold"] == 4096).all()
    first = (tmp_path / "a.npz").read_bytes()
    export(network, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == first, "the same network is the same file"
    floats = replace(network, populations=tuple(replace(p, grid=None) for p in network.populations))
    with pytest.raises(ConversionError, match="no grid"):
        export(floats, tmp_path / "b.npz")


# -- Brian2 scripts ---------------------------------------------------------------------------------


def run_script(value: Any, folder: Path, x: np.ndarray, n_steps: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what the script gives in a process that cannot see this project."""
    (folder / "alone").mkdir()
    script = folder / "alone" / "network.py"
    export(value, script, options=ExportOptions(n_steps=n_steps))
    np.save(folder / "x.npy", x)
    # -I: neither the working folder nor PYTHONPATH is looked at.
    command = [sys.executable, "-I", str(script), str(folder / "x.npy"), "--out", str(folder / "out.npz")]
    done = subprocess.run(command, cwd=folder / "alone", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    text = script.read_text()
    assert "neuro" not in text.replace("neuron", "").replace("Neuron", "") and "import converters" not in text
    with np.load(folder / "out.npz") as out:
        return {name: ordered(out[name]) for name in out.files if name != "outputs"}, out["outputs"]


def assert_script_agrees(value: Any, folder: Path, x: np.ndarray, n_steps: int = T, readout: str = "potential") -> None:
    (found, outputs), (expected, right) = run_script(value, folder, x, n_steps), spikes(value, x, n_steps, readout)
    for name, table in expected.items():
        assert np.array_equal(found[name], table), name
    if readout == "potential":
        np.testing.assert_allclose(outputs, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chip", ["", "loihi1"])
def test_a_script_alone_gives_the_same_spikes(chip: str, tmp_path: Path) -> None:
    network = dense([6, 9, 7, 4], per_neuron=not chip)
    value = neuro.deploy(network, chip) if chip else network
    assert_script_agrees(value, tmp_path, np.random.default_rng(1).random((8, 6)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regular", "poisson", "first_spike"])
def test_a_script_makes_the_spikes_of_the_encoder(kind: str, tmp_path: Path) -> None:
    network = with_encoder(sparse(dense([6, 9, 7, 4]), 0.6), kind, 1.0)
    assert_script_agrees(network, tmp_path, np.random.default_rng(2).random((5, 6)))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(case=cases(recurrent=False))
def test_a_script_states_every_rule(case: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    readout = case.readout if case.readout in ("count", "first_spike") else "potential"
    if any((p.max_spikes > 1 or p.signed) and j.delay != 1 for p in case.network.populations for j in case.network.outgoing(p.name)):
        with pytest.raises(ConversionError, match="burst or signed"):
            export(case.network, tmp_path_factory.mktemp("refused") / "a.py")
        return
    if case.network.populations[0].encoder == "poisson" and case.seed:
        return  # the script draws with seed 0
    runs = tmp_path_factory.mktemp("script")
    network, x = case.network, case.x
    found, _ = run_script(network, runs, x, case.n_steps)
    names = tuple(p.name for p in network.populations if p.spiking)
    recording = simulate(network, x, case.n_steps, engine="reference", readout=readout, record=Record(spikes=names))
    for name in names:
        assert np.array_equal(found[name], ordered(recording.spikes[name])), name


def test_what_a_script_cannot_do_is_refused(tmp_path: Path) -> None:
    network = dense([4, 5, 3])
    with pytest.raises(ConversionError, match="protocol 'srp'"):
        export(replace(network, protocol=Protocol("srp", 4)), tmp_path / "a.py")
    assert not (tmp_path / "a.py").exists()


# -- the table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporter_is_found_by_name_and_suffix(name: str) -> None:
    assert exporter_of(Path(f"a{EXPORTERS[name].suffix}")).name == name == exporter_of(Path("a.x"), name).name


def test_unknown_formats_and_options_are_named() -> None:
    with pytest.raises(SpecError, match="did you mean 'brian2'"):
        exporter_of(Path("a.py"), "brian")
    with pytest.raises(SpecError, match=r"\.onnx"):
        exporter_of(Path("a.onnx"))
    with pytest.raises(SpecError, match="n_steps") as refused:
        ExportOptions(n_steps=0, nir_dt=-1.0)
    assert "nir_dt" in str(refused.value)
