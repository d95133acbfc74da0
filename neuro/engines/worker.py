"""What a worker process does: wait for a part of a task, run it, send its counts back.

Started by ``processes``; talks over its standard input and output in pickles. It ends at once when the pipe closes, whatever it is at,
so that none outlives the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
from typing import Any, BinaryIO

IDLE_SECONDS = 600.0  # after which a worker without work ends, to give its memory back
READY = "ready"


def main() -> None:
    """Serve until the pipe closes or nothing has come for ``IDLE_SECONDS``."""
    requests, answers = _pipes()
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    _load()
    _send(answers, READY)
    network: Any = None
    while True:
        try:
            message = inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            os._exit(0)
        head, part = message
        if head is not None:
            network = _lowered(head)
        answer = _perform(network, part)
        _send(answers, answer)
        del answer, message, head, part  # nothing is held while the next one is awaited


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
    # Brian2 installs a handler of its own; the process that started this one answers Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
