"""Speed of this project's engines beside the machine's limit and the simulators that are installed.

    python benchmarks/engines.py                                     everything: an hour on one core
    python benchmarks/engines.py --networks large --steps 32 --parties batched,spikingjelly --repeats 3 --images 1000
    python benchmarks/engines.py --networks small --steps 8 --no-sweeps --out /tmp/engines

Every party runs in a process of its own with the same number of threads; in each repeat all of them take a turn, so that they meet
the same load of the machine. Parties that are not installed are left out and named. Results go to OUT.json, OUT.svg and OUT.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STEPS = (8, 32, 128)
LIMITED = ("batched", "batched-loihi1", "batched-target-cython")  # parties set beside the limit of the machine
PACKAGES = ("brian2", "numpy", "scipy", "numba", "cython", "torch", "spikingjelly", "snntorch", "norse", "sinabs")


def main() -> int:
    arguments = parse()
    # Read by the BLAS libraries when they load, here and in the processes of the parties.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    from report import chart, markdown, ratios
    from work import prepare

    source = {
        "command": shlex.join(["python", "benchmarks/engines.py", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "threads": arguments.threads,
        "batch": arguments.batch,
        "runs": [],
        "limits": [],
        "shares": [],
        "sweeps": [],
        "checks": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for network in arguments.networks:
            at = Path(folder) / network
            at.mkdir()
            prepare(network, 10_000 if arguments.checks else arguments.images, at, arguments.data_dir)
            if arguments.compare:
                compare(network, at, arguments, result)
        if arguments.checks:
            result["checks"] = checks(arguments.networks[-1], Path(folder) / arguments.networks[-1], arguments)
    if arguments.sweeps:
        import sweeps

        tiny = arguments.networks == ["tiny"]
        result["sweep_base"] = {"n_steps": 4, "width": 16, "batch": 5, "activity": 0.05} if tiny else sweeps.BASE
        samples = 10 if tiny else 1000
        result["sweeps"] = sweeps.sweep(sweeps.TINY if tiny else sweeps.AXES, arguments.repeats, samples, result["sweep_base"])
    parts = [f"{run['network']} T = {run['n_steps']}" for run in result["runs"]] + [part for part in ("sweeps", "checks") if result[part]]
    result["sources"] = dict.fromkeys(parts, source)
    out = Path(arguments.out)
    if arguments.add and out.with_suffix(".json").exists():
        result = joined(json.loads(out.with_suffix(".json").read_text()), result)
    result["ratios"] = ratios(result)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = bool(result["sweeps"]) and chart(result, out.with_suffix(".svg"))
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result, out.with_suffix(".svg").name if drawn else None)
    out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def parse() -> argparse.Namespace:
    from parties import PARTIES
    from work import MODELS, NETWORKS

    def names(known: tuple[str, ...]) -> Any:
        def read(text: str) -> list[str]:
            chosen = text.split(",")
            unknown = [name for name in chosen if name not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not known; there are {', '.join(known)}")
            return chosen

        return read

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=names(NETWORKS), default=list(MODELS))
    parser.add_argument("--steps", type=lambda text: [int(t) for t in text.split(",")], default=list(STEPS), help="T, e.g. 8,32")
    parser.add_argument("--parties", type=names(tuple(PARTIES)), default=list(PARTIES))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--few", type=int, default=5, help="images of parties that run one at a time")
    parser.add_argument("--batch", type=int, default=100, help="batch of the peers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", help="folder with mlp/ and MNIST (default: SPIKEPORT_DATA)")
    parser.add_argument("--no-compare", dest="compare", action="store_false", help="leave out the parties: sweeps and checks alone")
    parser.add_argument("--no-sweeps", dest="sweeps", action="store_false", help="leave out cost against T, width, batch and activity")
    parser.add_argument("--no-limit", dest="limit", action="store_false", help="leave out the machine's limit")
    parser.add_argument("--checks", action="store_true", help="start-up, memory of 10,000 images, two workers against one")
    parser.add_argument("--out", default="engines", help="results are written to OUT.json, OUT.svg and OUT.md")
    parser.add_argument("--add", action="store_true", help="keep what OUT.json holds of other networks and windows of the same machine")
    return parser.parse_args()


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return both results as one; a network and window measured again replaces the old one."""
    for name in ("machine", "versions", "threads", "batch"):
        if old[name] != new[name]:
            raise SystemExit(f"--add: {name} is {new[name]}, in the file {old[name]}; write to another file")
    again = {(run["network"], run["n_steps"]) for run in new["runs"]}
    both = {**new, "sources": {**old["sources"], **new["sources"]}}
    for name in ("runs", "limits", "shares"):
        both[name] = [row for row in old[name] if (row["network"], row["n_steps"]) not in again] + new[name]
    for name in ("sweeps", "sweep_base", "checks"):
        both[name] = new.get(name) or old.get(name)
    return both


def compare(network: str, folder: Path, arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Measure all parties on one network and add what was found to the result."""
    from parties import PARTIES, installed
    from processes import Remote

    remotes = {}
    for party in arguments.parties:
        if not installed(party):
            say(f"{party}: {PARTIES[party].package} is not installed, left out")
        elif party != "batched-loihi1" or (folder / "deployment.npz").exists():
            remotes[party] = Remote(party, folder, arguments.batch, arguments.threads)
    try:
        for n_steps in arguments.steps:
            _compare_at(network, n_steps, folder, remotes, arguments, result)
    finally:
        for remote in remotes.values():
            remote.close()


def _compare_at(
    network: str, n_steps: int, folder: Path, remotes: dict[str, Any], arguments: argparse.Namespace, result: dict[str, Any]
) -> None:
    from parties import images

    runs: dict[str, dict[str, Any]] = {}
    for party, remote in remotes.items():
        few = images(party, arguments.images, arguments.few, arguments.batch)
        remote.ask(min(few, arguments.batch), 2)  # warm-up: imports, compiled loops, memory
        counted = remote.ask(few, n_steps, count=True)
        if "error" in counted:
            say(f"{party}: {counted['error']}")
            runs[party] = {"network": network, "n_steps": n_steps, "party": party, **counted}
            continue
        runs[party] = {
            **{"network": network, "n_steps": n_steps, "party": party, "images": few, "per_1000": []},
            "spikes_per_image": counted["spikes"] / few,
            "same_images": remotes["batched"].ask(few, n_steps)["spikes"] / few if "batched" in remotes else None,
            "accuracy": counted["accuracy"],
            "operations_per_image": counted["synaptic_operations"] / few,
        }
    measured = {}
    if arguments.limit:
        ours = [p for p in LIMITED if p in runs and "error" not in runs[p]]
        measured = {party: _limit_of(party, n_steps, folder, arguments.images) for party in ours}
    bounds: dict[str, list[dict[str, Any]]] = {party: [] for party in measured}
    for repeat in range(arguments.repeats):
        for party, run in runs.items():
            if "error" in run:
                continue
            remotes[party].ask(min(run["images"], arguments.batch), 2)  # a process that has waited finds its memory and caches again
            found = remotes[party].ask(run["images"], n_steps)
            run["per_1000"].append(1000 * found["seconds"] / run["images"])
            run["peak_bytes"] = found["peak_bytes"]
            if party in measured:  # right after the run, so that both meet the same state of the machine
                bounds[party].append(measured[party]())
        say(
            f"{network} T = {n_steps} repeat {repeat + 1}: "
            + ", ".join(f"{p} {r['per_1000'][-1]:.3g}" for p, r in runs.items() if "error" not in r)
        )
    for run in runs.values():
        if run.get("operations_per_image"):
            run["operations_per_s"] = 1000 * run["operations_per_image"] / min(run["per_1000"])
    result["runs"] += runs.values()
    for party in LIMITED:
        if party not in runs or "error" in runs[party]:
            continue
        share = remotes[party].ask(arguments.images, n_steps, shares=True)
        result["shares"].append({"network": network, "n_steps": n_steps, "party": party, **share})
        if party in bounds:
            found = sorted(bounds[party], key=lambda bound: bound["seconds"])
            times = [
                run_s / 1000 * arguments.images / b["seconds"] for run_s, b in zip(runs[party]["per_1000"], bounds[party], strict=True)
            ]
            middle = {**found[len(found) // 2], "times": times, "images": arguments.images}
            result["limits"].append({"network": network, "n_steps": n_steps, "party": party, **middle})


def _limit_of(party: str, n_steps: int, folder: Path, images: int) -> Callable[[], dict[str, Any]]:
    """Return what measures the machine's limit for a party; its spikes are counted here, once."""
    import limit
    import numpy as np
    from work import load

    import neuro
    from neuro.engines import replicas
    from neuro.engines.lowering import lower

    chip = party == "batched-loihi1"
    net: Any = neuro.Deployment.load(folder / "deployment.npz").network if chip else neuro.SpikingNetwork.load(folder / "snn.npz")
    work = load(folder)
    x = work.x[:images]
    recording = neuro.simulate(net, x, n_steps)
    spikes = [int(recording.spike_counts[p.name].sum()) for p in net.populations if p.spiking]
    integers = [np.asarray(s.weight) for s in lower(net).synapses]
    batch = replicas(net, images, "batched", neuro.EngineOptions())
    return lambda: {"batch": batch, **limit.limit(work, integers, batch, images, n_steps, spikes)}


def checks(network: str, folder: Path, arguments: argparse.Namespace) -> dict[str, str]:
    """Return start-up, memory over images and windows and two workers against one, in words."""
    from ours import engine
    from processes import Remote
    from report import spread
    from work import load

    from neuro.engines import processes

    starts, ends = [], []
    for _ in range(arguments.repeats):
        began = time.perf_counter()
        command = [sys.executable, str(Path(__file__).with_name("start.py")), str(folder / "snn.npz")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            if process.stdout.readline() != b"done\n":
                raise SystemExit("start.py failed")
            starts.append(time.perf_counter() - began)
        ends.append(time.perf_counter() - began)
    found = {
        "Network": network,
        "Start of a new process to the end of a run of one sample and one step": f"{spread(starts)} s",
        "The same to the end of the process": f"{spread(ends)} s",
    }
    work = load(folder)
    for n_images, n_steps in ((1000, 8), (1000, 128), (10_000, 8), (10_000, 128)):
        remote = Remote("batched", folder, arguments.batch, arguments.threads)
        answer = remote.ask(n_images, n_steps)
        remote.close()
        words = f"Peak memory of {answer['images']:,} images, T = {n_steps}, with all {len(work.x):,} inputs ({work.x.nbytes / 1e6:.0f} MB) loaded"
        found[words] = f"{answer['peak_bytes'] / 1e6:.0f} MB"
    one, two = engine()(work, 0), engine(workers=2)(work, 0)
    one(work.x[:100], 2, False)  # imports and compiled loops
    cores = len(os.sched_getaffinity(0))
    for words, ready in (("the second process ready", True), ("the second process started by the run", False)):
        gains, ones, twos = [], [], []
        for _ in range(arguments.repeats):
            ones.append(_seconds(one, work.x))
            processes.start(2) if ready else processes.close()
            twos.append(_seconds(two, work.x))
            gains.append(ones[-1] / twos[-1])
        found[f"Two workers over one, {len(work.x)} images, T = 32, {cores} cores, {words}"] = (
            f"{spread(gains)} times as fast ({spread(ones)} s and {spread(twos)} s)"
        )
    processes.close()
    return found


def _seconds(run: Any, x: Any) -> float:
    began = time.perf_counter()
    run(x, 32, False)
    return time.perf_counter() - began


def machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        flags = set(next(line for line in lines if line.startswith("flags")).split())
        name += " (" + ", ".join(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags) + ")"
    except (OSError, StopIteration):
        pass
    return {"processor": name, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
