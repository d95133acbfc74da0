"""One process a party: libraries do not meet, and the peak memory of each is its own."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Remote:
    """A party that waits in a process of its own until it is asked to run."""

    def __init__(self, party: str, folder: Path, batch: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, party, folder, batch, threads), daemon=False)
        self._process.start()
        other.close()

    def ask(self, n_images: int, n_steps: int, count: bool = False, shares: bool = False) -> dict[str, Any]:
        """Run the first images and return seconds, spikes, accuracy, operations and peak memory, or {"error": words}."""
        try:
            self._pipe.send((n_images, n_steps, count, shares))
            return self._pipe.recv()
        except (EOFError, BrokenPipeError):
            self._process.join(1)
            return {"error": f"the process ended with exit code {self._process.exitcode}"}

    def close(self) -> None:
        try:
            self._pipe.send(None)
        except BrokenPipeError:
            pass
        self._process.join()


def _serve(pipe: Connection, party: str, folder: Path, batch: int, threads: int) -> None:
    from parties import PARTIES
    from work import load

    work = load(folder)
    try:
        if not PARTIES[party].ours:
            _torch_threads(threads)
        run = PARTIES[party].build(work, batch)
    except Exception as error:  # a peer that cannot be built is reported, and the others go on
        failure: dict[str, Any] | None = {"error": f"{type(error).__name__}: {error}"}
    else:
        failure = None
    while (wish := pipe.recv()) is not None:
        n_images, n_steps, count, shares = wish
        if failure is not None:
            pipe.send(failure)
            continue
        try:
            pipe.send(_measure(run, work, n_images, n_steps, count, shares))
        except Exception as error:
            pipe.send({"error": f"{type(error).__name__}: {error}"})


def _measure(run: Any, work: Any, n_images: int, n_steps: int, count: bool, shares: bool) -> dict[str, Any]:
    from shares import timed_parts

    x = work.x[:n_images]
    with timed_parts(shares) as parts:
        began = time.perf_counter()
        answers, spikes, operations = run(x, n_steps, count)
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "images": len(x),
        "spikes": spikes,
        "accuracy": float((answers == work.y[:n_images]).mean()),
        "synaptic_operations": operations,
        "peak_bytes": peak_bytes(),
        "parts": parts,
    }


def peak_bytes() -> int | None:
    """Return the most memory this process has held [bytes]; None where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _torch_threads(threads: int) -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
