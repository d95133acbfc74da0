"""Mistakes on the command line: status 1, a message that says what, where and what to do, and nothing half-written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from command_line import spikeport

from converters.mlp import MLP, Dense


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of every stage, small, untrained, and files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)

    def network(*sizes: int) -> MLP:
        layers = []
        for k, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
            weight = rng.normal(0, n_in**-0.5, (n_out, n_in)).astype(np.float32)
            last = k == len(sizes) - 2
            layers.append(Dense(weight, np.zeros(n_out, np.float32), "identity" if last else "relu"))
        return MLP(tuple(layers))

    network(64, 24, 10).save(folder / "mlp.npz")
    network(63, 24, 10).save(folder / "other.npz")
    network(64, 2000, 2000, 10).save(folder / "large.npz")
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        weight = rng.normal(size=(8, 64))
        weight[3, 5] = value
        np.savez(folder / f"{name}.npz", W0=weight.T, b0=np.zeros(8), W1=np.ones((8, 10)), b1=np.zeros(10))
    np.savez(folder / "shapes.npz", W0=np.ones((64, 8)), b0=np.zeros(8), W1=np.ones((9, 10)), b1=np.zeros(10))
    x, y = rng.random((40, 64)).astype(np.float32), np.arange(40) % 10
    np.savez(folder / "data.npz", x=x, y=y)
    np.savez(folder / "loud.npz", x=np.concatenate([x[:32], 3 * x[32:]]), y=y, x_test=3 * x[:8], y_test=y[:8])
    np.savez(folder / "uneven.npz", x=x, y=y[:39])
    spoilt = x.copy()
    spoilt[7, 7] = np.nan
    np.savez(folder / "holes.npz", x=spoilt, y=y)
    np.savez(folder / "nameless.npz", a=x)
    (folder / "ragged.csv").write_text("a,b,y\n1,2,0\n3,1\n")
    (folder / "words.csv").write_text("a,b,y\n1,2,0\n3,much,1\n")
    (folder / "twice.csv").write_text("a,b,y\n1,2,0\na,b,y\n3,4,1\n")
    (folder / "empty.csv").write_text("a,b,y\n")
    (folder / "noise.npz").write_bytes(rng.bytes(300))
    whole = (folder / "mlp.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "folder.npz").mkdir()
    (folder / "bad.toml").write_text(
        "sed = [0]\n[data]\nnam = 'digits'\n[run]\nn_steps = [4, 0]\nengine = 'batch'\n[convert]\nmethod = 'ltbb'\n[depoly]\nchip = 'x'\n"
    )
    (folder / "broken.toml").write_text("[run\n")
    spikeport("convert", "mlp.npz", "--calibration", "digits", "--method", "max_norm+srp", "--out", "srp-snn.npz", cwd=folder)
    for name in ("mlp", "large"):
        spikeport("convert", f"{name}.npz", "--calibration", "digits", "--method", "max_norm", "--out", f"{name}-snn.npz", cwd=folder)
    return folder


TO_X = ("--out", "x.npz")
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # what is given, and what the message must say
    "no such model": (("convert", "absent.npz", "--calibration", "digits", *TO_X), ("absent.npz", "no such file")),
    "no such network": (("run", "absent.npz", "--data", "digits", *TO_X), ("absent.npz", "no such file")),
    "no such results": (("report", "absent", "--out", "x.html"), ("absent", "no such file")),
    "results of nothing": (("results", "folder.npz"), ("folder.npz", "no store")),
    "a folder for a file": (("deploy", "folder.npz", *TO_X), ("folder.npz", "a folder", "expected a spiking network")),
    "another stage's file": (("deploy", "mlp.npz", *TO_X), ("a trained network", "expected a spiking network", "spikeport convert")),
    "somebody else's file": (("run", "data.npz", "--data", "digits", *TO_X), ("data.npz", "did not write")),
    "noise": (("convert", "noise.npz", "--calibration", "digits", *TO_X), ("noise.npz",)),
    "cut short": (("convert", "cut.npz", "--calibration", "digits", *TO_X), ("cut.npz",)),
    "no such data": (("convert", "mlp.npz", "--calibration", "absent.csv", *TO_X), ("absent.csv", "no such file")),
    "no such data folder": (("train", "digits", "--data-dir", "absent", *TO_X), ("absent", "no such folder")),
    "data without x": (("convert", "mlp.npz", "--calibration", "nameless.npz", *TO_X), ("nameless.npz", "no array x", "found a")),
    "ragged CSV": (("train", "ragged.csv", *TO_X), ("ragged.csv", "line 3", "2 fields", "expected 3")),
    "a header in the middle of a CSV": (("train", "twice.csv", *TO_X), ("twice.csv", "line 3", "'a'", "expected a number")),
    "words in a CSV": (("train", "words.csv", *TO_X), ("words.csv", "line 3", "'much'", "expected a number")),
    "empty CSV": (("train", "empty.csv", *TO_X), ("empty.csv", "no samples")),
    "lengths that disagree": (("convert", "mlp.npz", "--calibration", "uneven.npz", *TO_X), ("uneven.npz", "40", "39")),
    "NaN in the data": (("convert", "mlp.npz", "--calibration", "holes.npz", *TO_X), ("holes.npz", "NaN", "sample")),
    "network and data disagree": (("convert", "other.npz", "--calibration", "digits", *TO_X), ("takes 63 inputs, a sample has 64",)),
    "layers that disagree": (("convert", "shapes.npz", "--calibration", "digits", *TO_X), ("shapes.npz", "9", "8")),
    "NaN weights": (("convert", "nan.npz", "--calibration", "digits", *TO_X), ("nan.npz", "NaN")),
    "infinite weights": (("convert", "infinite.npz", "--calibration", "digits", *TO_X), ("infinite.npz", "nfinit")),
    "T of 0": (("run", "mlp-snn.npz", "--data", "digits", "--n-steps", "0", *TO_X), ("n_steps: 0", ">= 1")),
    "T below 0": (("convert", "mlp.npz", "--calibration", "digits", "--n-steps", "-3", *TO_X), ("n_steps: -3", ">= 1")),
    "unknown data set": (("train", "digit", *TO_X), ("did you mean 'digits'",)),
    "unknown method": (("convert", "mlp.npz", "--calibration", "digits", "--method", "ltbb", *TO_X), ("did you mean 'ltb'",)),
    "steps that exclude each other": (
        ("convert", "mlp.npz", "--calibration", "digits", "--method", "signed+burst", *TO_X),
        ("'signed' and 'burst' both set the neurons' rule: keep one",),
    ),
    "steps in the wrong order": (
        ("compare", "demo.toml", "--set", 'convert.method=[["calibration", "ltb"]]', "--out", "x"),
        ("'ltb' comes after 'calibration', which it would undo: put 'ltb' first",),
    ),
    "auto in a chain": (
        ("convert", "mlp.npz", "--calibration", "digits", "--method", "auto+calibration", *TO_X),
        ("'auto' stands alone",),
    ),
    "a target without auto": (
        ("convert", "mlp.npz", "--calibration", "digits", "--target-loss", "1", *TO_X),
        ("--target-loss is for --method auto",),
    ),
    "a protocol on a chip": (("deploy", "srp-snn.npz", "--chip", "loihi1", *TO_X), ("protocol 'srp'", "without pre-steps")),
    "unknown chip": (("deploy", "mlp-snn.npz", "--chip", "loihi", *TO_X), ("did you mean 'loihi1'",)),
    "no such chip file": (("deploy", "mlp-snn.npz", "--chip", "my.toml", *TO_X), ("my.toml", "No such file")),
    "unknown engine": (("run", "mlp-snn.npz", "--data", "digits", "--engine", "batch", *TO_X), ("did you mean 'batched'",)),
    "unknown encoding": (
        ("run", "mlp-snn.npz", "--data", "digits", "--set", "run.encoding=poison", *TO_X),
        ("did you mean 'poisson'",),
    ),
    "unknown read-out": (("run", "mlp-snn.npz", "--data", "digits", "--set", "run.readout=counts", *TO_X), ("did you mean 'count'",)),
    "unknown list": (("list", "engine"), ("did you mean 'engines'",)),
    "unknown config": (("compare", "digit.toml", "--out", "x"), ("did you mean 'digits.toml'",)),
    "unknown preset": (("plan", "methods.toml", "--preset", "quik"), ("did you mean 'quick'",)),
    "unknown setting": (("compare", "demo.toml", "--set", "convert.metod=ltb", "--out", "x"), ("convert.metod is not a setting; did you mean 'method'",)),
    "no setting": (("compare", "demo.toml", "--set", "run.n_steps", "--out", "x"), ("expected NAME=VALUE",)),
    "a list for one run": (("run", "mlp-snn.npz", "--data", "digits", "--set", "run.n_steps=[1,2]", *TO_X), ("spikeport compare",)),
    "unknown format": (("report", "x", "--format", "pdf", "--out", "x.pdf"), ("'pdf' is not known", "pdf-figures")),
    "no TOML": (("plan", "broken.toml"), ("broken.toml", "not TOML", "line 1")),
    "export of another kind": (("results", "x", "--out", "x.xlsx"), ("cannot write .xlsx", ".csv, .parquet")),
    "a file below a file": (("train", "digits", "--out", "mlp.npz/x.npz"), ("mlp.npz", "cannot be written")),
    "a folder in place": (("train", "digits", "--out", "folder.npz"), ("folder.npz: is a folder",)),
    "nowhere to compare": (("compare", "demo.toml", "--out", "mlp.npz"), ("mlp.npz", "cannot")),
}


def tree(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize("what", CASES)
def test_a_mistake_gets_a_line_and_leaves_nothing(bench: Path, what: str) -> None:
    arguments, words = CASES[what]
    before = tree(bench)
    done = spikeport(*arguments, cwd=bench, status=1)
    assert done.err.startswith("spikeport: ") and done.err.endswith("\n")
    for word in words:
        assert word in done.err, done.err
    # One line; where it lists causes, these are indented below it.
    first, *others = done.err.splitlines()
    assert all(line.startswith("  ") or line.startswith("Nothing was ") for line in others), done.err
    assert "fault in spikeport" not in done.err
    assert tree(bench) == before


def test_every_mistake_of_a_config_is_named_at_once(bench: Path) -> None:
    done = spikeport("plan", "bad.toml", cwd=bench, status=1)
    for word in ("'sed'", "did you mean 'seeds'", "data.nam is not a setting", "did you mean 'name'", "n_steps: 0", "'ltbb'", "'depoly'", "did you mean 'deploy'"):
        assert word in done.err
    assert done.err.splitlines()[0] == "spikeport: bad.toml cannot be used:"


def test_a_network_that_does_not_fit_gets_every_excess(bench: Path) -> None:
    done = spikeport("deploy", "large-snn.npz", "--chip", "odin", "--out", "x.npz", cwd=bench, status=1)
    lines = done.err.splitlines()
    assert "does not fit" in lines[0] and len(lines) >= 6
    for name, excess in (("hidden2", "fan-in of a neuron: 2,000, limit 256"), ("output", "in axons of one core: 2,000, limit 256")):
        assert any(name in line and excess in line for line in lines[1:-1]), done.err
    assert lines[-1].startswith("Nothing was") and not (bench / "x.npz").exists()


def test_inputs_outside_the_calibrated_range_are_warned_of(bench: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "r.npz")
    done = spikeport("run", "mlp-snn.npz", "--data", "loud.npz", "--out", out, cwd=bench)
    assert done.err.startswith("spikeport: warning: ") and "calibrated on" in done.err and len(done.err.splitlines()) == 1
    assert spikeport("run", "mlp-snn.npz", "--data", "digits", "--out", out, cwd=bench).err == ""


@pytest.mark.parametrize("command", ["deploy", "compare"])
def test_a_full_disk_is_named_and_leaves_no_half_file(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neuro.archive.os.fsync", full)
    arguments = ("deploy", str(bench / "mlp-snn.npz"), "--out", "d.npz") if command == "deploy" else ("compare", "demo.toml", "--out", "r")
    done = spikeport(*arguments, cwd=tmp_path, status=1)
    assert re.search(r"the disk is full; this file needs [\d,]+ bytes, [\d,]+ are free.*make room", done.err)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_read_only_folder_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr("experiments.single.train", None)
    monkeypatch.setattr("experiments.runner.run", None)
    for arguments in (("train", "digits", "--out", "x.npz"), ("compare", "demo.toml", "--out", "r")):
        done = spikeport(*arguments, cwd=tmp_path, status=1)
        assert "cannot be written (Read-only file system); name another folder with --out" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["experiments.single.train", "experiments.single.load_data"])
def test_ctrl_c_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def stop(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)
    done = spikeport("train", "digits", "--out", "x.npz", cwd=tmp_path, status=1)
    assert done.err == "spikeport: stopped by Ctrl-C. Nothing was written.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("run", "x", "--n-steps", "eight"), ("nonsense",), ("train", "digits", "--hidden", "12,x", "--out", "x")])
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "Usage: spikeport" in spikeport(*arguments, cwd=tmp_path, status=2).err


def test_debug_shows_the_trace(tmp_path: Path) -> None:
    import contextlib
    import io
    import sys

    from experiments import cli

    err, before = io.StringIO(), sys.argv
    sys.argv = ["spikeport", "deploy", "absent.npz", "--out", str(tmp_path / "x"), "--debug"]
    try:
        with contextlib.redirect_stderr(err), pytest.raises(SystemExit):
            cli.main()
    finally:
        sys.argv = before
    assert "Traceback" in err.getvalue() and "spikeport: absent.npz" in err.getvalue()
