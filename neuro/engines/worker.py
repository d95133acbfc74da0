"""What a worker process does: wait for a part of a task, run it, send its counts back; ``serve`` is the same for any message.

Started by ``processes``; talks over its standard input and output in pickles. It ends at once when the pipe closes, whatever it is at,
so that none outlives the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

IDLE_SECONDS = 600.0  # after which a worker without work ends, to give its memory back
READY = "ready"


def main() -> None:
    """Run the parts of tasks that are sent."""
    network: Any = None

    def perform(message: Any) -> tuple[bool, Any]:
        nonlocal network
        head, part = message
        if head is not None:
            network = _lowered(head)
        return _perform(network, part)

    serve(_load, perform)


def serve(load: Callable[[], None], answer: Callable[[Any], Any]) -> None:
    """Load, say so, and answer every message, until the pipe closes or nothing has come for ``IDLE_SECONDS``."""
    requests, answers = _pipes()
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    load()
    # Brian2 installs a handler of its own; the process that started this one answers Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _send(answers, READY)
    while True:
        try:
            message = inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            os._exit(0)
        reply = answer(message)
        _send(answers, reply)
        del reply, message  # nothing is held while the next one is awaited


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return both ends for messages; what a library prints goes to standard error instead."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: BinaryIO, inbox: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            message = pickle.load(requests)
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(0)  # whoever wanted the work has gone
        except Exception as error:  # a class that this process does not find
            message = None, error
        inbox.put(message)


def _load() -> None:
    """Import what the engines need, so that a worker that says it is ready is."""
    from . import batched
    from .delivery import load_kernels

    load_kernels("auto")
    assert batched


def _lowered(head: Any) -> Any:
    from .lowering import lower

    network, engine, options = head
    return lower(network), engine, options


def _perform(network: Any, part: Any) -> tuple[bool, Any]:
    """Return (True, (counts, what the engine says of itself)) or (False, the exception)."""
    from . import run_here

    if isinstance(part, Exception):
        return False, part
    try:
        low, engine, options = network
        tally, info = run_here(low, part, engine, options)
        return True, (tally.counts(), info)
    except Exception as error:
        return False, error


def _send(answers: BinaryIO, message: Any) -> None:
    try:
        pickle.dump(message, answers, protocol=5)
        answers.flush()
    except OSError:
        os._exit(0)
