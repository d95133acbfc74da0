"""The command line as people use it: every stage from file to file, clean output in pipes, help, documents that are true.

Most tests run the command in this process; those about starting, stopping and pipes start one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, process, spikeport

from experiments import cli

ORDER = [c.name or "" for c in cli.app.registered_commands]
COMMANDS = sorted(ORDER)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    spikeport("train", "digits", "--hidden", "24", "--set", "train.epochs=8", "--out", "mlp.npz", cwd=folder)
    spikeport("convert", "mlp.npz", "--calibration", "digits", "--out", "snn.npz", cwd=folder)
    spikeport("deploy", "snn.npz", "--chip", "loihi1", "--out", "deployment.npz", cwd=folder)
    return folder


@pytest.mark.parametrize("network", ["snn.npz", "deployment.npz"])
def test_every_stage_takes_files_and_gives_files(stages: Path, network: str, tmp_path: Path) -> None:
    out = str(tmp_path / "recording.npz")
    done = spikeport("run", network, "--data", "digits", "--n-steps", "8", "--json", "--out", out, cwd=stages)
    facts = json.loads(done.out)
    assert facts["samples"] == 450
    assert facts["accuracy"][0] > 0.85
    assert Path(out).exists() and done.err == ""


def test_a_delayed_readout_from_an_estimated_step(stages: Path, tmp_path: Path) -> None:
    """The start and the answers are those of ``neuro.delayed.estimate_start`` on the samples that thresholds are chosen on."""
    import numpy as np

    from experiments.datasets import load_dataset
    from neuro.delayed import estimate_start
    from neuro.engines import simulate
    from neuro.network import SpikingNetwork
    from neuro.recording import Recording

    out = tmp_path / "recording.npz"
    words = ("run", "snn.npz", "--data", "digits", "--n-steps", "12", "--estimate-start", "--set", "convert.calibration=100")
    done = spikeport(*words, "--json", "--out", str(out), cwd=stages)
    network, data = SpikingNetwork.load(stages / "snn.npz"), load_dataset("digits")
    samples = np.sort(np.random.Generator(np.random.Philox(0)).permutation(len(data.x_train))[:100])
    readout = estimate_start(network, data.x_train[samples], 12)
    assert readout.start > 0 and json.loads(done.out)["readout_start"] == readout.start
    answer = simulate(network, data.x_test, 12, readout=readout)
    assert (Recording.load(out).outputs == answer.outputs).all()
    assert f"without the first {readout.start} of 12 steps" in spikeport(*words, "--out", str(out), cwd=stages).out
    refused = spikeport(*words, "--set", "run.readout=potential", "--out", str(out), cwd=stages, status=1)
    assert "leave out --set run.readout" in refused.err


def test_quiet_says_nothing_of_the_work_and_json_is_all_there_is(stages: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "d.npz")
    assert spikeport("deploy", "snn.npz", "--quiet", "--out", out, cwd=stages).out == ""
    assert json.loads(spikeport("deploy", "snn.npz", "--json", "--out", out, cwd=stages).out)["written"] == out


@pytest.mark.parametrize(
    "kind", ["datasets", "methods", "engines", "encodings", "readouts", "rules", "chips", "importers", "metrics", "configs"]
)
def test_lists_have_a_line_for_each_name(kind: str, tmp_path: Path) -> None:
    lines = spikeport("list", kind, cwd=tmp_path).out.splitlines()
    assert len(lines) >= 2
    assert all(len(line.split(None, 1)) == 2 for line in lines), lines


def test_a_chip_is_shown_with_its_sources(tmp_path: Path) -> None:
    text = spikeport("chip", "loihi1", cwd=tmp_path).out
    assert "23.6 pJ" in text and "10.1109/MM.2018.112130359" in text


def test_the_installation_is_checked(tmp_path: Path) -> None:
    assert "engines" in spikeport("check", cwd=tmp_path).out


def test_a_plan_shows_the_trials_and_what_they_take(tmp_path: Path) -> None:
    facts = json.loads(spikeport("plan", "digits.toml", "--json", cwd=tmp_path).out)
    assert len(facts["trials"]) == 93 and facts["stages"] == {"model": 3, "network": 6, "deployment": 12}
    assert facts["seconds"] > 1 and facts["memory_bytes"] > 1e8
    text = spikeport("plan", "digits.toml", cwd=tmp_path).out
    assert "93 trials" in text and "in one process" in text and not list(tmp_path.iterdir())


SMALL = ("demo.toml", "--set", "model.hidden=[16]", "--set", "train.epochs=4", "--set", "data.limit=60", "--set", "run.n_steps=2")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    text = spikeport("compare", *SMALL, "--out", "results", cwd=folder).out
    assert "4 trials" in text and (folder / "results" / "report.html").exists()
    return folder


def test_run_again_elsewhere_only_what_is_missing_is_run(compared: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(compared / "results", tmp_path / "moved")
    record = sorted((tmp_path / "moved" / "trials").glob("*.json"))[0]
    record.write_text("{ half a rec")
    done = spikeport("compare", *SMALL, "--out", "moved", cwd=tmp_path)
    assert re.search(r"1 run in .*, 3 there already", done.out)
    assert "damaged" in done.err and record.name in done.err and "set aside" in done.err


def test_results_are_filtered_printed_and_exported(compared: Path, tmp_path: Path) -> None:
    text = spikeport("results", "results", "--where", "group!=ann", "--sort=-energy_J", cwd=compared).out
    assert "3 trials" in text and "energy_J" in text and text.splitlines()[1].split()[1] == "chip"
    rows = json.loads(spikeport("results", "results", "--columns", "group,accuracy", "--json", cwd=compared).out)
    assert [set(r) for r in rows] == [{"group", "accuracy"}] * 4
    out = tmp_path / "r.csv"
    spikeport("results", "results", "--where", "group=chip", "--out", str(out), cwd=compared)
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.slow
def test_tuning_ends_in_a_front_and_a_page(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    small = ("--set", "tune.trials=3", "--set", "model.hidden=[16]", "--set", "train.epochs=4", "--set", "data.limit=60")
    text = spikeport("tune", "tune.toml", *small, "--out", "tuned", cwd=tmp_path).out
    assert "3 points, 3 of them now" in text and "lost, held out" in text and "samples were held out" in text
    assert (tmp_path / "tuned" / "report.html").exists()


@pytest.mark.slow
def test_the_demo_ends_in_a_page(tmp_path: Path) -> None:
    text = spikeport("demo", "--out", "demo", cwd=tmp_path).out
    assert "on loihi1, T = 8" in text and "McNemar" in text
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "</html>" in page
    assert "spiking, ideal" in page


# -- starting and stopping ----------------------------------------------------------------------------


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['spikeport', '--help']\n"
        "from experiments.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'brian2', 'altair', 'msgspec', 'rich', 'torch', 'pooch'} & set(sys.modules)\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Example:  spikeport demo" in done.stdout


def test_a_reader_that_goes_away_is_not_an_error_to_speak_of(tmp_path: Path) -> None:
    run = process("chip", "loihi1", cwd=tmp_path)
    run.stdout.close()
    _, run_err = "", run.stderr.read()
    run.wait()
    assert run_err == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("crew", [(), ("--workers", "2"), ("--scheduler", "local:2")])
def test_ctrl_c_ends_with_a_message_and_the_run_goes_on_later(tmp_path: Path, crew: tuple[str, ...]) -> None:
    if "--scheduler" in crew:
        pytest.importorskip("distributed")
    steps = ("--set", "run.n_steps=[1,2,3,4,5,6,7,8]", "--set", "model.hidden=[32]")
    run = process("compare", "demo.toml", *steps, *crew, "--out", "r", cwd=tmp_path, start_new_session=True)
    trials = tmp_path / "r" / "trials"
    while len(list(trials.glob("*.json")) if trials.exists() else []) < 2:
        assert run.poll() is None
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate()
    assert run.returncode == 1
    assert err == "spikeport: stopped by Ctrl-C. Finished trials are kept in r; the same command goes on from there.\n"
    assert not list(tmp_path.rglob("*.draft"))
    facts = json.loads(spikeport("plan", "demo.toml", *steps, "--out", "r", "--json", cwd=tmp_path).out)
    assert sum(not t["missing"] for t in facts["trials"]) >= 2


# -- documents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_ends_with_an_example(name: str, tmp_path: Path) -> None:
    text = spikeport(name, "--help", cwd=tmp_path).out
    assert f"Example: spikeport {name} " in " ".join(text.strip().splitlines()[-2:]).replace("  ", " ") + " "


def documented() -> dict[str, str]:
    """Return {command: its section} of docs/cli.md."""
    text = (ROOT / "docs" / "cli.md").read_text()
    parts = re.split(r"^### spikeport (\S+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_a_section_and_no_section_is_of_a_command_that_is_not_there() -> None:
    assert sorted(documented()) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_says_what_the_command_says_of_itself(name: str) -> None:
    """To write them anew: python tests/experiments/test_cli.py."""
    assert documented()[name].split("\n## ")[0].strip() == described(name).strip()


SHARED = {"--quiet", "--json", "--debug", "--help"}


def described(name: str) -> str:
    """Return the section of a command: what it does, its example, a line for each argument and option."""
    import typer

    command = typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    lines = [command.help.strip(), "", f"    {command.epilog.removeprefix('Example:').strip()}", ""]
    rows = []
    for parameter in command.params:
        flags = [flag for flag in parameter.opts if flag.startswith("--")]
        if SHARED & set(flags):
            continue
        shown = " ".join(word for word in (*flags[:1], parameter.metavar) if word)
        default = "" if parameter.required or parameter.default in (None, "", 0, False, []) else f" ({parameter.default})"
        rows.append(f"| `{shown}` | {parameter.help}{' Required.' if flags and parameter.required else ''}{default} |")
    return "\n".join([*lines, *(["| | |", "|---|---|", *rows] if rows else [])]) + "\n"


def test_the_commands_of_the_tour_run_as_they_stand(stages: Path, tmp_path: Path) -> None:
    """The first block of commands of docs/cli.md, run in order; training made short."""
    block = re.search(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "cli.md").read_text(), flags=re.M | re.S)
    assert block is not None
    commands = [shlex.split(line, comments=True) for line in block.group(1).splitlines() if line.strip()]
    assert [c[1] for c in commands] == ["train", "inspect", "convert", "deploy", "run"]
    for words in commands:
        assert words[0] == "spikeport"
        short = ["--set", "train.epochs=2"] if words[1] == "train" else []
        spikeport(*words[1:], *short, cwd=tmp_path)
    assert (tmp_path / "recording.npz").exists()


if __name__ == "__main__":
    path = ROOT / "docs" / "cli.md"
    before, marker, _ = path.read_text().partition("## Commands\n")
    path.write_text(before + marker + "".join(f"\n### spikeport {name}\n\n{described(name)}" for name in ORDER))
