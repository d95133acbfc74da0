"""Running: everything once, again only what is missing, the same result whoever does the work, and nothing lost on the way."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experiments import stages
from experiments.config import parse
from experiments.plan import plan
from experiments.runner import RunnerOptions, run
from experiments.stages import Stage, deployment_key, model_key, network_key, stages_of
from experiments.store import Store
from neuro.errors import DiskFullError, EngineError, SpecError, StoreError

SMALL = """
[data]
limit = 40
[model]
hidden = [12]
[train]
epochs = 3
[convert]
calibration = 100
"""
QUIET = RunnerOptions(probes=False, samples=0)


def results(folder):
    return {r.key: r for r in Store(folder, create=False)}


def assert_same_results(a, b):
    """Compare everything but clocks and machines."""
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].status == b[key].status, (a[key].reason, b[key].reason)
        one, two = ({n: v for n, v in r.arrays.items()} for r in (a[key], b[key]))
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_every_trial_is_done_and_says_where_it_comes_from(tiny):
    assert (tiny.summary.done, tiny.summary.failed, tiny.summary.skipped, tiny.summary.present) == (14, 0, 0, 0)
    found = results(tiny.folder)
    assert found.keys() == {t.key for t in tiny.experiment.trials}
    for trial in tiny.experiment.trials:
        r = found[trial.key]
        assert r.status == "done" and r.trial == trial.plain
        p = r.provenance
        assert p["versions"]["numpy"] == np.__version__ and p["seed"] == trial.seed
        assert p["seconds"] > 0 and (p["peak_memory"] is None or p["peak_memory"] > 1e7)
        assert p["machine"]["cores"] >= 1 and p["finished"].endswith("Z")


def test_ideal_rows_say_what_stands_out_in_the_conversion(tiny):
    rows = [r.result["row"] for r in results(tiny.folder).values() if r.status == "done"]
    ideal = [row for row in rows if row["group"] == "ideal" and row["settings"]["run.encoding"] == "constant"]
    assert ideal and all(any("most of its error" in text for text in row["findings"]) for row in ideal)
    assert not any(row["findings"] for row in rows if row["group"] != "ideal")


def test_progress_leaves_as_a_callback(tiny):
    trials = [r for r in tiny.reports if r.stage == "trials"]
    assert trials[-1].done == trials[-1].total == 14
    assert [r.done for r in trials] == sorted(r.done for r in trials)
    assert trials[-1].info["failed"] == 0 and trials[-1].info["rate"] > 0 and 0.5 < trials[-1].info["best"] <= 1
    assert {"training", "simulating", "probing"} <= {r.stage for r in tiny.reports}


def test_shared_stages_are_made_once(tiny):
    kinds = [p.name.split("-")[0] for p in (tiny.folder / "shared").iterdir()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "model": 2,
        "answers": 2,
        "network": 2,
        "deployment": 4,
        "probes": 1,
        "rounding": 1,
    }


def test_stage_names_depend_on_what_decides_them():
    e = parse("seeds=[0,1]\n[run]\nn_steps=[2,4]\nencoding=['constant','regular']\n[convert]\nmethod=['ltb','mmse']")
    spiking = [t for t in e.trials if t.convert]
    assert len({model_key(t) for t in e.trials}) == 2
    assert len({network_key(t) for t in spiking}) == 2 * (1 + 2)
    assert len({deployment_key(t) for t in spiking if t.deploy}) == 2 * (1 + 2) * 2 * 2
    assert [s.kind for s in stages_of(spiking[-1])] == ["model", "network", "deployment"]


def test_run_again_does_nothing(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "moved")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    summary = run(tiny.experiment, folder, QUIET)
    assert (summary.present, summary.done) == (14, 0)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_only_what_is_missing_or_damaged_is_run_and_gives_the_same(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "s")
    a, b = tiny.experiment.trials[2].key, tiny.experiment.trials[5].key
    (folder / "trials" / f"{a}.json").unlink()
    next((folder / "trials").glob(f"{b}-*.npz")).write_bytes(b"broken")
    network = next((folder / "shared").glob("network-*"))
    network.write_bytes(b"PK broken")
    # The status of a trial does not read its arrays; comparing does, and finds the damage.
    assert len(results(folder)) == 12
    summary = run(tiny.experiment, folder, RunnerOptions(samples=60, probes=False))
    assert (summary.present, summary.done) == (12, 2)
    assert_same_results(results(folder), results(tiny.folder))
    assert any(line.startswith(b[:8]) or b[:8] in line for line in Store(folder).damaged())


@pytest.mark.parametrize(
    "options", [{"workers": 2}, pytest.param({"scheduler": "local:2"}, marks=pytest.mark.slow)], ids=["processes", "dask"]
)
def test_whoever_does_the_work_gets_the_same(tiny, tmp_path, options):
    if "scheduler" in options:
        pytest.importorskip("distributed")
    reports = []
    run(tiny.experiment, tmp_path, RunnerOptions(samples=60, probes=False, **options), reports.append)
    assert_same_results(results(tmp_path), results(tiny.folder))
    assert reports[-1].done == reports[-1].total == 14


def test_a_network_that_does_not_fit_is_skipped_with_the_reason_and_not_tried_again(tmp_path):
    e = parse(SMALL + "[deploy]\nchip=['odin','loihi1']\nreset='native'", overrides=["model.hidden=[600]"])
    first = run(e, tmp_path, QUIET)
    assert (first.done, first.skipped, first.failed) == (3, 1, 0)
    assert "does not fit odin" in first.reasons[0][1]
    skipped = [r for r in results(tmp_path).values() if r.status == "skipped"]
    assert len(skipped) == 1 and skipped[0].reason.startswith("CapacityError")
    second = run(e, tmp_path, QUIET)
    assert (second.present, second.done, second.skipped) == (4, 0, 0)


def test_a_failing_trial_is_recorded_with_its_trace_and_the_others_go_on(tmp_path, monkeypatch):
    e = parse(SMALL + "[run]\nn_steps=[2,3]\n[deploy]\nchip=[]")

    def broken(network, x, steps, **given):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(stages, "simulate_each", broken)
    summary = run(e, tmp_path, QUIET)
    assert (summary.done, summary.failed) == (2, 1) and "ZeroDivisionError: of all things" in summary.reasons[0][1]
    failed = [r for r in results(tmp_path).values() if r.status == "failed"]
    assert "in broken" in failed[0].trace and failed[0].trial["run"]["n_steps"] == 3
    monkeypatch.undo()
    kept = run(e, tmp_path, RunnerOptions(probes=False, samples=0, retry_failed=False))
    assert (kept.present, kept.done) == (3, 0)
    again = run(e, tmp_path, QUIET)
    assert (again.present, again.done, again.failed) == (2, 1, 0)


def test_one_simulation_serves_every_number_of_steps(tmp_path, monkeypatch):
    e = parse(SMALL + "[run]\nn_steps=[1,2,4]\n[deploy]\nchip=['loihi1']\nreset='construction'")
    calls = []
    real = stages.simulate_each
    monkeypatch.setattr(stages, "simulate_each", lambda *a, **k: calls.append(a[2]) or real(*a, **k))
    together, apart = tmp_path / "together", tmp_path / "apart"
    assert run(e, together, QUIET).done == 7 and sorted(map(sorted, calls)) == [[1, 2, 4], [1, 2, 4]]
    monkeypatch.undo()
    for n in (1, 2, 4):
        run(parse(e.text, overrides=[f"run.n_steps={n}"]), apart, QUIET)
    wanted = results(apart)
    for key, found in results(together).items():
        row, other = found.result["row"], wanted[key].result["row"]
        assert {k: v for k, v in row.items() if k != "engine"} == {k: v for k, v in other.items() if k != "engine"}
        assert all(np.array_equal(found.arrays[k], wanted[key].arrays[k], equal_nan=True) for k in found.arrays)


def test_trials_share_the_fate_of_a_stage_that_fails(tmp_path):
    e = parse(SMALL + "[deploy]\nchip=[]", overrides=["train.learning_rate=1e30", "train.clip_norm=0"])
    summary = run(e, tmp_path, QUIET)
    assert summary.done == 0 and summary.skipped == 2
    assert all("training diverged" in reason for _, reason in summary.reasons)


def _die_on(stage, context, progress=None):
    """Do the work, but die on trials of two steps, always, and on those of three steps, once."""
    run_settings = stage.trial["run"] or {"n_steps": 0}
    marker = Path(context.store) / "died-once"
    if stage.kind == "trial" and (run_settings["n_steps"] == 2 or (run_settings["n_steps"] == 3 and not marker.exists())):
        if run_settings["n_steps"] == 3:
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stages.work(stage, context, progress)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_trial_whose_worker_dies_is_tried_on_another_and_then_recorded_as_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.runner.work", _die_on)
    e = parse(SMALL + "[run]\nn_steps=[2,3,4]\n[deploy]\nchip=[]")
    summary = run(e, tmp_path, RunnerOptions(probes=False, samples=0, workers=2))
    assert (summary.done, summary.failed) == (3, 1) and "exit code -9" in summary.reasons[0][1]
    failed = [r for r in results(tmp_path).values() if r.status == "failed"]
    assert [r.trial["run"]["n_steps"] for r in failed] == [2] and "tried on more than one" in failed[0].reason


@pytest.mark.parametrize("room", range(9))
def test_a_full_disk_stops_the_run_and_it_goes_on_later(tmp_path, monkeypatch, room):
    e = parse(SMALL + "[run]\nn_steps=[2,3]\n[deploy]\nchip=[]")
    real, written = os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) > room + 1:  # the first is the store's own mark
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr("neuro.archive.os.fsync", full)
    with pytest.raises(DiskFullError, match=r"disk is full; this file needs .* are free; make room and try again; \d trials? to go"):
        run(e, tmp_path, QUIET)
    monkeypatch.undo()
    done = len(results(tmp_path))
    # What no room was left for has not failed: neither a trial nor what trials share.
    assert all(r.status == "done" for r in results(tmp_path).values()) and not list(tmp_path.rglob("*.draft"))
    assert done < 3
    assert run(e, tmp_path, QUIET).present == done


def test_nothing_is_made_when_settings_contradict_or_files_are_missing(tmp_path):
    folder = tmp_path / "s"
    with pytest.raises(SpecError, match="run.engine"):
        run(parse("[run]\nengine='x'"), folder)
    with pytest.raises(SpecError, match="no such file"):
        run(parse("[model]\nfile='x.npz'"), folder)
    assert not folder.exists()


def test_a_store_of_another_kind_on_a_worker_is_refused(tmp_path):
    Store(tmp_path)
    context = stages.Context(store=str(tmp_path), store_id="another")
    trial = parse("").trials[0]
    outcome = stages.work(Stage("trial", trial.key, trial.plain), context)
    assert outcome.status == "failed" and "file system that all workers share" in outcome.reason
    gone = stages.work(Stage("trial", trial.key, trial.plain), msgspec_replace(context, store=str(tmp_path / "no")))
    assert gone.status == "failed" and not (tmp_path / "no").exists()


def msgspec_replace(context, **changes):
    from dataclasses import replace

    return replace(context, **changes)


def test_a_model_file_is_named_by_its_content_and_must_fit(tmp_path):
    from converters.mlp import MLP, Dense

    rng = np.random.default_rng(0)

    def save(n_in):
        layers = (
            Dense(rng.normal(size=(8, n_in)).astype(np.float32), np.zeros(8, np.float32)),
            Dense(rng.normal(size=(10, 8)).astype(np.float32), np.zeros(10, np.float32), "identity"),
        )
        MLP(layers).save(tmp_path / "net.npz")

    text = "[data]\nlimit=30\n[model]\nfile='net.npz'\n[run]\nn_steps=2\n[deploy]\nchip=[]"
    save(64)
    e = parse(text, folder=tmp_path)
    assert run(e, tmp_path / "s", QUIET).done == 2
    assert run(e, tmp_path / "s", QUIET).present == 2
    save(64)  # other weights under the same name
    assert run(e, tmp_path / "s", QUIET).present == 0
    save(63)
    summary = run(e, tmp_path / "s", QUIET)
    assert summary.failed == 2 and "it takes 63 inputs, a sample has 64" in summary.reasons[0][1]


def test_recordings_are_kept_where_asked_for(tmp_path):
    from neuro.recording import Recording

    e = parse(SMALL + "[run]\nn_steps=2\n[deploy]\nchip=[]")
    run(e, tmp_path, RunnerOptions(probes=False, keep_recordings=True))
    kept = list((tmp_path / "recordings").iterdir())
    assert [p.stem for p in kept] == [e.trials[1].key] and Recording.load(kept[0]).n_samples == 40


@pytest.mark.parametrize(
    "settings",
    [
        ["run.encoding=regular"],
        ["run.encoding=poisson"],
        ["run.readout=count"],
        ["run.readout=delayed", "run.readout_start=2"],
        ["run.exit_threshold=2.0"],
        ["run.engine=reference"],
        ["convert.grid=0"],
    ],
    ids=lambda s: ",".join(s),
)
def test_every_way_in_and_out_runs_to_the_end(tmp_path, settings):
    e = parse(SMALL + "[run]\nn_steps=8", overrides=settings)
    summary = run(e, tmp_path, QUIET)
    refused = "convert.grid=0" in settings
    assert summary.failed == 0 and summary.done == 4, summary.reasons
    assert refused or summary.skipped == 0


def test_a_plan_learns_from_the_store(tiny):
    p = plan(tiny.experiment, tiny.folder)
    assert p.measured and not p.missing and p.stages == {} and p.seconds == 0


def test_workers_beside_a_scheduler_are_refused():
    with pytest.raises(EngineError, match=r"leave one of the two out.*local:3"):
        RunnerOptions(workers=3, scheduler="tcp://localhost:8786")


def test_a_scheduler_that_is_not_there(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(EngineError):
        run(parse(SMALL), tmp_path, RunnerOptions(scheduler="local:x"))


def test_another_version_is_refused(tmp_path):
    (tmp_path / "store.json").write_text('{"format": "spikeport.store", "version": 0}')
    with pytest.raises(StoreError, match="version 0"):
        run(parse(SMALL), tmp_path)


# Without `if __name__ == "__main__":`, which workers must not need.
RUN = """
import sys
sys.path[:0] = [{root!r}]
from experiments.config import parse
from experiments.runner import RunnerOptions, run
print("start", flush=True)
run(parse({text!r}), {folder!r}, RunnerOptions(probes=False, samples=0, workers={workers}),
    lambda p: print(p.stage, p.done, flush=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_in_the_middle_and_run_again(tmp_path, root, workers):
    text = SMALL + "[run]\nn_steps=[2,3,4,5,6]\n[deploy]\nchip=[]"
    folder = tmp_path / "s"
    script = tmp_path / "go.py"
    script.write_text(RUN.format(root=str(root), text=text, folder=str(folder), workers=workers))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("trials 2"):
                process.send_signal(signal.SIGKILL)
                break
    assert len(results(folder)) >= 2
    _settle(folder)
    present = len(results(folder))
    summary = run(parse(text), folder, QUIET)
    assert summary.present == present and summary.present + summary.done == 6 and summary.failed == 0
    assert Store(folder).damaged() == []


def _settle(folder: Path) -> None:
    """Wait until orphaned workers, whose parent is gone, have ended: nothing is written any more."""
    before = None
    while before != (before := {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.exists()}):
        time.sleep(2.0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_ctrl_c_leaves_what_is_done_and_no_worker(tmp_path, root):
    text = SMALL + "[run]\nn_steps=[2,3,4,5,6]\n[deploy]\nchip=[]"
    folder = tmp_path / "s"
    script = tmp_path / "go.py"
    script.write_text(RUN.format(root=str(root), text=text, folder=str(folder), workers=2))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for line in process.stdout:
            if line.startswith("trials 2"):
                os.killpg(process.pid, signal.SIGINT)
                break
        _, error = process.communicate()
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    while _alive_in_group(process.pid):  # multiprocessing's resource tracker ends a moment after its parent
        time.sleep(0.1)
    found = results(folder).values()
    assert len(found) >= 2 and {r.status for r in found} == {"done"} and not list(folder.rglob("*.draft"))


def _alive_in_group(group: int) -> list[str]:
    """Return the processes of a group that are not zombies (whose parent may never collect them in a container)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        state, _, pgrp = rest.split()[:3]
        if int(pgrp) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def test_options_are_plain():
    options = RunnerOptions(workers=3)
    assert msgspec.convert(msgspec.to_builtins(options), RunnerOptions) == options
