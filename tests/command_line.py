"""The command, run by tests: in this process, or as one of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments import cli

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Done:
    """What a command left: exit status, standard output and error."""

    status: int
    out: str
    err: str


def spikeport(*arguments: str, cwd: Path, status: int = 0) -> Done:
    """Run the command in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["spikeport", *map(str, arguments)]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        sys.argv = before
    done = Done(code, out.getvalue(), err.getvalue())
    assert done.status == status, done
    assert "Traceback" not in done.err
    return done


def process(*arguments: str, cwd: Path, **options: object) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from experiments.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=cwd, **pipes, **options)  # type: ignore[call-overload]
