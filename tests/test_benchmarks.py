"""The benchmark of the engines at a tiny size: its parties do the same work, and its report refuses to compare what is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(FOLDER))
    from work import prepare

    made = tmp_path_factory.mktemp("work")
    prepare("tiny", 12, made, None)
    sys.path.remove(str(FOLDER))
    return made


@pytest.mark.parametrize(
    ("party", "package"),
    [
        ("brian2", "brian2"),
        # Not snnTorch: its neuron loses spikes where a potential is still above the threshold after a reset.
        pytest.param("torch-float32", "torch", marks=pytest.mark.slow),
        pytest.param("spikingjelly", "spikingjelly", marks=pytest.mark.slow),
        pytest.param("norse", "norse", marks=pytest.mark.slow),
        pytest.param("sinabs", "sinabs", marks=pytest.mark.slow),
    ],
)
def test_every_party_sends_the_spikes_of_batched(folder: Path, party: str, package: str) -> None:
    pytest.importorskip(package)
    from parties import PARTIES
    from work import load

    work = load(folder)
    images = work.x[:3] if PARTIES[party].single else work.x
    ours, ours_spikes, _ = PARTIES["batched"].build(work, 5)(images, 16, True)
    theirs, spikes, _ = PARTIES[party].build(work, 5)(images, 16, True)
    assert ours_spikes > 50 and abs(spikes / ours_spikes - 1) < 0.01
    assert (theirs == ours).all()


def run_of(party: str, per_1000: list[float], spikes: float, same: float) -> dict[str, Any]:
    return {
        "network": "tiny",
        "n_steps": 4,
        "party": party,
        "images": 5,
        "per_1000": per_1000,
        "spikes_per_image": spikes,
        "same_images": same,
        "accuracy": 1.0,
    }


@pytest.mark.parametrize(("spikes", "shown"), [(100.5, "| 1.5 / 2 / 2 |"), (102.0, "not compared: +2.0 % spikes")])
def test_times_are_compared_only_for_the_same_spikes(spikes: float, shown: str) -> None:
    from report import markdown, ratios

    runs = [run_of("batched", [1.0, 2.0, 1.0], 90.0, 90.0), run_of("spikingjelly", [2.0, 3.0, 2.0], spikes, 100.0)]
    result: dict[str, Any] = {"runs": runs, "limits": [], "shares": [], "sweeps": [], "checks": {}, "versions": {}, "threads": 1}
    result |= {"sources": {"tiny T = 4": {"command": "-", "date": "-"}}, "batch": 5, "machine": {"processor": "-", "cores": 1, "python": "-"}}
    result["ratios"] = ratios(result)
    assert shown in markdown(result, None)


@pytest.mark.slow
def test_the_command_writes_its_results(tmp_path: Path) -> None:
    out = tmp_path / "engines"
    words = "--networks tiny --steps 3 --images 6 --few 1 --repeats 1 --parties batched,synapses".split()
    subprocess.run([sys.executable, str(FOLDER / "engines.py"), *words, "--out", str(out)], check=True, cwd=tmp_path)
    result = json.loads(out.with_suffix(".json").read_text())
    assert [run["party"] for run in result["runs"]] == ["batched", "synapses"]
    assert all(len(run["per_1000"]) == 1 and run["per_1000"][0] > 0 for run in result["runs"])
    assert result["limits"][0]["seconds"] > 0 and {row["axis"] for row in result["sweeps"]} == {"n_steps", "width", "batch", "activity"}
    assert "tiny network, T = 3" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".svg").exists()
    # Adding the same window again replaces its rows and its command.
    words[words.index("batched,synapses")] = "batched,batched-target-cython"
    more = [*words, "--no-sweeps", "--add", "--out", str(out)]
    subprocess.run([sys.executable, str(FOLDER / "engines.py"), *more], check=True, cwd=tmp_path)
    again = json.loads(out.with_suffix(".json").read_text())
    assert [run["party"] for run in again["runs"]] == ["batched", "batched-target-cython"] and again["sweeps"] == result["sweeps"]
    text = out.with_suffix(".md").read_text()
    assert text.count("--no-sweeps") == 1 and text.count("python benchmarks/engines.py") == 2
    assert [row["party"] for row in again["limits"]] == ["batched", "batched-target-cython"]
