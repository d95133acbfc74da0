"""Where a command's words go: lines, answers, warnings and errors. Plain text; the bars are drawn by cli.py."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from .units import percent, seconds

COLUMN = 24


class Terminal:
    """The output of one command.

    Lines about the work and answers go to standard output, warnings and errors to standard error. With ``quiet`` only
    answers (what a command was asked to show) are printed; with ``as_json`` one JSON document is all there is.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json

    @property
    def draws(self) -> bool:
        """Whether a bar may be drawn: a person is watching."""
        return not self.quiet and not self.as_json and sys.stderr.isatty()

    def say(self, what: str, text: str = "") -> None:
        """Print one line about the work: what was done to what, and how it came out."""
        if not self.quiet and not self.as_json:
            print(f"{f'{what}  ':<{COLUMN}}{text}".rstrip(), flush=True)

    def answer(self, lines: Sequence[str], facts: Any) -> None:
        """Print what the command was asked to show: lines for people, or ``facts`` as JSON."""
        if self.as_json:
            print(json.dumps(facts, indent=2, default=_plain, allow_nan=False), flush=True)
        else:
            print("\n".join(lines), flush=True)

    def wrote(self, path: Path, facts: Mapping[str, Any]) -> None:
        """End a command that made a file: name it, or give ``facts`` as JSON."""
        if self.as_json:
            self.answer((), {"written": str(path), **facts})
        else:
            self.say("written", str(path))


def wrap(text: str, indent: str = "  ", width: int = 100) -> list[str]:
    """Return a long sentence as indented lines."""
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)


def progress_words(done: int, total: int, info: Mapping[str, float], width: int = 46) -> str:
    """Return what stands beside a bar: how many, how fast, how long still, the best so far; so many letters at most.

    A bar beside longer words would be squeezed away on a terminal of 80 columns.
    """
    parts = [f"{done:,}/{total:,}"]
    for name, value in info.items():
        if name == "rate":
            parts.append(f"{value:.2g}/s")
        elif name == "seconds_left":
            parts.append(f"{seconds(value)} left")
        elif name == "best":
            parts.append(f"best {percent(value)}")
        elif name == "failed":
            parts += [f"{value:.0f} failed"] if value else []
        elif name != "learning_rate":  # follows a schedule that is known
            parts.append(f"{name.replace('_', ' ')} {value:.3g}")
    # Failures are told even where there is little room.
    parts.sort(key=lambda part: not part.endswith(("failed", f"/{total:,}")))
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 2 + len(part) > width:
            break
        text += f"  {part}"
    return text


def _plain(value: Any) -> Any:
    # NumPy scalars and arrays have item and tolist; paths have neither.
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def complain(message: str, left: str = "") -> None:
    """Print an error on standard error, and what was left untouched: on the same line, or below a list of causes."""
    if left and "othing was" not in message:
        message += f"\n{left}" if "\n" in message else f"{'' if message.endswith(('.', '?')) else '.'} {left}"
    print(f"spikeport: {message}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """Return what to tell a person about an exception, without a trace."""
    from neuro.errors import SpikeportError

    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    if isinstance(error, SpikeportError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory ({str(error) or 'no details'}); use fewer samples (--limit) or a smaller batch"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name!r} is not installed; install it, or 'spikeport[all]', and run the command again"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (
        f"unexpected {type(error).__name__}: {error}. This is a fault in spikeport: "
        "run the command again with --debug and report what it prints"
    )


@contextlib.contextmanager
def guarded(left: Callable[[], str], debug: bool) -> Iterator[list[int]]:
    """Turn every exception into a message; the yielded list receives the exit status 1 when there was one."""
    status: list[int] = []
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            yield status
        except BrokenPipeError:
            # The reader of our output has gone, as with `| head`; there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status.append(1)
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            complain(describe(error), left())
            status.append(1)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    print(f"spikeport: warning: {message}", file=sys.stderr, flush=True)


def check_writable(path: Path) -> None:
    """Raise StoreError before any work when a file cannot be written to ``path``."""
    from neuro.errors import StoreError

    if path.is_dir():
        raise StoreError(f"{path}: is a folder, expected the name of a file to write")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); name another folder with --out") from error
