"""What a GPU does with the same networks: energy of an inference by batch, and time of the spiking loop beside one processor core.

    python benchmarks/gpu.py --networks kws=DATA/kws/kws_mlp_390_256_256_29.npz mnist=DATA/mlp/mnist_784_1200_1200_10.npz \
        --work large --images 2000 --repeats 7 --out docs/results/gpu

Energy: the board's own counter (NVML) over a run of seconds. It idles twice: before a program has opened it, and while one holds it
open and computes nothing, which raises its clocks. Dynamic energy is given above both. One batch is answered before the next begins; a
captured graph of kernels keeps launches short; inputs and answers stay in its memory, and the host is not counted.
Spiking: the network of ``work.py``, in turns, the GPU on all images at once, the processor on the first ones; spikes of those are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 512, 4096, 32768)
PRECISIONS = ("float32", "float16")
ALL_IMAGES = 10_000  # on the GPU at once
REST = 4.0  # idle power is taken over this long [s]
LEAST = 3.0  # energy is counted over at least this long: the counter moves every 0.1 s or so


class Board:
    """Joules of the board since it was switched on, from its own counter."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
        self.joules()  # an older board without the counter fails here, and says so

    def joules(self) -> float:
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) * 1e-3

    def describe(self) -> str:
        n, h = self._nvml, self._handle
        limit = n.nvmlDeviceGetPowerManagementLimit(h) * 1e-3
        return f"{n.nvmlDeviceGetName(h)}, driver {n.nvmlSystemGetDriverVersion()}, power limit {limit:.0f} W"

    def clock(self) -> int:
        return self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)

    def edge(self) -> tuple[float, float]:
        """Wait until the counter moves; return that moment and its reading [s, J], so that a span holds whole updates."""
        before = self.joules()
        while (now := self.joules()) == before:
            pass
        return time.perf_counter(), now


def idle_power(board: Board) -> float:
    began, before = board.edge()
    time.sleep(REST)
    ended, after = board.edge()
    return (after - before) / (ended - began)


def power_of(board: Board, call: Callable[[], Any]) -> tuple[float, float]:
    """Run ``call`` again and again; return calls a second and watts, over spans between two moves of the counter."""
    for _ in range(20):
        call()
    warm = time.perf_counter()
    while time.perf_counter() - warm < 1.0:
        call()
    calls, before, began = 0, board.joules(), None
    ended, after, counted = 0.0, 0.0, 0
    start = time.perf_counter()
    while True:
        call()
        calls += 1
        now = time.perf_counter()
        if now - ended < 0.02 and began is not None:
            continue  # reading the counter takes time of its own; look at it every 20 ms at most
        reading = board.joules()
        if reading != before:
            before = reading
            if began is None:
                began, base, calls = now, reading, 0
            else:
                after, counted = reading, calls
                if now - began >= LEAST:
                    return counted / (now - began), (after - base) / (now - began)
        ended = now
        if now - start > 10 * LEAST:
            raise RuntimeError("the energy counter of the board does not move")


def classifier(weights: list[np.ndarray], biases: list[np.ndarray], precision: str, batch: int) -> Callable[[], None]:
    """Return a call that answers one batch: layers of multiplication and rectification, then the largest output."""
    import torch

    dtype = getattr(torch, precision)
    ws = [torch.from_numpy(w).cuda().to(dtype) for w in weights]  # (n_out, n_in)
    bs = [torch.from_numpy(b).cuda().to(dtype) for b in biases]
    x = torch.rand(batch, weights[0].shape[1], device="cuda", dtype=dtype)

    def forward() -> Any:
        h = x
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            h = torch.nn.functional.linear(h, w, b)
            h = torch.relu(h) if i < len(ws) - 1 else h
        return h.argmax(dim=1)

    return _captured(forward)


def spiking(work: Any, precision: str, n_steps: int) -> tuple[Callable[[], Any], Callable[[], tuple[Any, Any]]]:
    """Return the dense loop over all images at once, captured, and a call that gives answers and spikes of every image."""
    import torch

    dtype = getattr(torch, precision)
    ws = [torch.from_numpy(w).cuda().to(dtype) for w in work.weights]
    bs = [torch.from_numpy(b).cuda() for b in work.biases]
    x = torch.from_numpy(work.x).cuda()
    first = torch.from_numpy(work.weights[0]).cuda()
    v = [torch.empty(len(x), len(b), device="cuda") for b in bs[:-1]]
    out, spikes = torch.empty(len(x), len(bs[-1]), device="cuda"), torch.zeros(len(x), device="cuda")

    def forward() -> Any:
        drive = torch.nn.functional.linear(x, first, bs[0])
        for state in v:
            state.fill_(work.v_init)
        out.zero_()
        spikes.zero_()
        fired: Any = None
        for _ in range(n_steps):
            arriving = drive
            for i, state in enumerate(v):
                if i:
                    arriving = torch.nn.functional.linear(fired, ws[i]).float() + bs[i]
                state += arriving
                fired = (state >= 1.0).to(dtype)
                state -= fired
                spikes.add_(fired.sum(dim=1, dtype=torch.float32))
            out.add_(torch.nn.functional.linear(fired, ws[-1]).float() + bs[-1])
        return out.argmax(dim=1)

    replay = _captured(forward)
    return replay, lambda: (forward().cpu().numpy(), spikes.cpu().numpy())


def _captured(forward: Callable[[], Any]) -> Callable[[], None]:
    """Capture the kernels of a call once, so that a replay costs one launch; a call returns when the answer is there."""
    import torch

    side = torch.cuda.Stream()
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(3):
            forward()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        forward()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def _network(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return weights (n_out, n_in) and biases of an npz: W0 b0 ... as (n_in, n_out), or weight0 bias0 ... as of ``work.py``."""
    with np.load(path) as file:
        if "weight0" in file:
            n = sum(k.startswith("weight") for k in file)
            return [file[f"weight{i}"] for i in range(n)], [file[f"bias{i}"] for i in range(n)]
        n = sum(k.startswith("W") for k in file)
        return [np.ascontiguousarray(file[f"W{i}"].T) for i in range(n)], [file[f"b{i}"] for i in range(n)]


def measure_energy(board: Board, networks: dict[str, Path], idle: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name, path in networks.items():
        weights, biases = _network(path)
        for precision in PRECISIONS:
            for batch in BATCHES:
                calls, watts = power_of(board, classifier(weights, biases, precision, batch))
                rate = calls * batch
                rows.append(
                    {
                        "network": name,
                        "sizes": [weights[0].shape[1], *(len(b) for b in biases)],
                        "macs": sum(w.size for w in weights),
                        "precision": precision,
                        "batch": batch,
                        "rate": rate,
                        "running_power": watts,
                        "total_energy": watts / rate,
                        "above_closed": (watts - idle["closed"]) / rate,
                        "above_open": (watts - idle["open"]) / rate,
                        "clock_mhz": board.clock(),
                    }
                )
                print(f"{name} {precision} batch {batch}: {rate:,.0f} /s, {watts:.1f} W", flush=True)
    return rows


def measure_spiking(board: Board, folder: Path, n_steps: int, repeats: int, images_cpu: int) -> dict[str, Any]:
    """Time the whole set on the GPU and some images on one core of this machine, in turns."""
    from ours import engine
    from work import load, prepare

    if not (folder / "plain.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        prepare("large", ALL_IMAGES, folder, None)
    work = load(folder)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core for the engine; the GPU needs no more of the host
    batched = engine(chip=True)(work, 0)
    part = work.x[:images_cpu]
    batched(part[:100], n_steps, False)
    parties = {f"GPU, dense loop, {p}": spiking(work, p, n_steps) for p in PRECISIONS}
    seconds: dict[str, list[float]] = {"batched, deployed on loihi1, one core": [], **{name: [] for name in parties}}
    for _ in range(repeats):
        began = time.perf_counter()
        answers, spikes, _ = batched(part, n_steps, True)
        seconds["batched, deployed on loihi1, one core"].append((time.perf_counter() - began) / len(part))
        for name, (replay, _result) in parties.items():
            replay()
            began = time.perf_counter()
            replay()
            seconds[name].append((time.perf_counter() - began) / len(work.x))
    found = {"batched, deployed on loihi1, one core": (float(np.mean(answers == work.y[:images_cpu])), spikes / len(part), None)}
    for name, (replay, result) in parties.items():
        given, count = result()
        calls, watts = power_of(board, replay)
        found[name] = (float(np.mean((given == work.y)[:images_cpu])), float(np.mean(count[:images_cpu])), watts / calls / len(work.x))
        print(f"{name}: {watts:.1f} W", flush=True)
    rows = [
        {"party": name, "seconds": sorted(seconds[name]), "accuracy": a, "spikes": s, "total_energy": e} for name, (a, s, e) in found.items()
    ]
    return {"n_steps": n_steps, "images": len(work.x), "images_cpu": len(part), "rows": rows}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--work", type=Path, help="folder for the spiking network and its images; made where it is absent")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000, help="images for the processor core")
    parser.add_argument("--out", type=Path, required=True, help="name of the .json to write, without its end")
    o = parser.parse_args()
    board = Board()
    idle = {"closed": idle_power(board)}
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.zeros(1, device="cuda")
    time.sleep(REST)  # the clocks rise
    idle["open"] = idle_power(board)
    result: dict[str, Any] = {
        "measured": datetime.now(UTC).isoformat(timespec="minutes"),
        "board": board.describe(),
        "processor": processor(),
        "idle_power": idle,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    networks = {name: Path(file) for name, _, file in (n.partition("=") for n in o.networks)}
    result["energy"] = measure_energy(board, networks, idle)
    o.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    if o.work is not None:
        result["spiking"] = measure_spiking(board, o.work, o.steps, o.repeats, o.images)
        o.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result.get("spiking", {}), indent=1))


if __name__ == "__main__":
    main()
