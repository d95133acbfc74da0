"""Find a data set's files in the user's folders, or download them into the user's cache.

Only verified files enter the cache: a download goes to a draft, its content is
checked, and the draft is renamed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from neuro.errors import SpecError, problems
from neuro.progress import Progress, ProgressCallback

from .base import DataDir

VARIABLE = "SPIKEPORT_DATA"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Parameters
    ----------
    name : its usual name, without ``.gz``.
    urls : public addresses, tried in turn.
    digest : ``"md5:..."`` or ``"sha256:..."`` of the content (unpacked, when gzip); empty when not known.
    download_digest : the same of the file as downloaded, where the digest of the content is not known.
    other_names : further names under which it is found.
    """

    name: str
    urls: tuple[str, ...] = ()
    digest: str = ""
    download_digest: str = ""
    other_names: tuple[str, ...] = ()

    def find(self, folder: Path) -> Path | None:
        """Return the file within a folder, plain or gzip, or None."""
        for name in (self.name, *self.other_names):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
        return None


def obtain(
    title: str,
    files: Sequence[DataFile],
    folder: str,
    data_dir: DataDir = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Path]:
    """Return the path of every file, found or downloaded.

    Looked for, in this order: ``data_dir``, the folder named by ``SPIKEPORT_DATA`` (in each: its subfolder ``folder``,
    then itself), the user's cache. The first place that holds them is used; a place of the user's that holds only some
    of them is an error.

    Raises
    ------
    SpecError : no such folder; some but not all files; nothing found and no download (files, places and ways to point).
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise SpecError(f"{data_dir}: no such folder; --data-dir names the folder that holds {title}")
    looked = []
    for place in _places(folder, data_dir):
        looked.append(place)
        found = {file.name: file.find(place) for file in files}
        here = {name: path for name, path in found.items() if path is not None}
        if len(here) == len(files):
            return here
        if here:
            lacking = ", ".join(name for name, path in found.items() if path is None)
            raise SpecError(f"{place} holds {len(here)} of the {len(files)} files of {title}; not {lacking} (or .gz)")
    cache = cache_folder() / folder
    looked.append(cache)
    found = {file.name: file.find(cache) for file in files}
    failures: dict[str, None] = {}
    for file in files:
        if found[file.name] is None:
            found[file.name] = _download(file, cache, title, progress, failures)
        if found[file.name] is None:
            break
    else:
        return {name: path for name, path in found.items() if path is not None}
    raise SpecError(
        problems(
            f"{title} was not found and could not be downloaded:",
            [
                f"files: {', '.join(file.name for file in files)} (each plain or .gz)",
                f"looked for in: {', '.join(str(place) for place in looked)}",
                *([f"download: {'; '.join(failures)}"] if failures else []),
                f"put the files into one folder and name it with --data-dir FOLDER or {VARIABLE}=FOLDER",
            ],
        )
    )


def cache_folder() -> Path:
    """Return the user's cache folder for data sets (not made yet)."""
    import pooch

    return Path(pooch.os_cache("spikeport")) / "data"


def read(path: Path) -> bytes:
    """Return the content of a file, unpacked when it is gzip; raise SpecError when it is damaged."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except EOFError as error:
        raise SpecError(f"{path}: truncated: the gzip stream ends early; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SpecError(f"{path}: corrupt gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error


def digest_problem(file: DataFile, path: Path, content: bytes) -> str | None:
    """Return what is wrong with the checksum of the content, or None."""
    if not file.digest:
        return None
    kind, expected = file.digest.split(":")
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found == expected:
        return None
    found_text = f"{kind.upper()} of the content is {found}, expected {expected}"
    return f"{path}: {found_text}: not the published file; fetch it again"


def _places(folder: str, data_dir: DataDir) -> list[Path]:
    roots = [Path(data_dir)] if data_dir is not None else []
    variable = os.environ.get(VARIABLE)
    if variable:
        roots.append(Path(variable))
    return [place for root in roots for place in (root / folder, root)]


def _download(
    file: DataFile, cache: Path, title: str, progress: ProgressCallback | None, failures: dict[str, None]
) -> Path | None:
    import pooch
    import requests

    for url in file.urls:
        target = cache / f"{file.name}{'.gz' if url.endswith('.gz') else ''}"
        draft = None
        try:
            cache.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".draft", dir=cache)
            os.close(handle)
            bar: Any = _Bar(f"downloading {title}", progress) if progress else False
            pooch.HTTPDownloader(progressbar=bar, timeout=30)(url, draft, None)
            problem = _verify(file, Path(draft), url)
            if problem is None:
                os.replace(draft, target)
                return target
            failures[problem] = None
        except requests.HTTPError as error:
            failures[f"{url} answered {getattr(error.response, 'status_code', error)}"] = None
        except requests.RequestException as error:
            failures[f"{urlsplit(url).netloc} cannot be reached ({type(error).__name__})"] = None
        except OSError as error:
            raise SpecError(f"{cache}: the download cannot be stored ({error.strerror or error})") from error
        finally:
            if draft is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
    return None


def _verify(file: DataFile, draft: Path, url: str) -> str | None:
    if file.download_digest:
        kind, expected = file.download_digest.split(":")
        found = hashlib.new(kind, draft.read_bytes(), usedforsecurity=False).hexdigest()
        if found != expected:
            return f"{url} gave a file with {kind.upper()} {found}, expected {expected}"
    try:
        problem = digest_problem(file, draft, read(draft))
    except SpecError as error:
        problem = str(error)
    return None if problem is None else problem.replace(str(draft), url)


class _Bar:
    """What pooch asks of a progress bar, handed on to a callback."""

    def __init__(self, stage: str, progress: ProgressCallback) -> None:
        self.stage, self.progress = stage, progress
        self.total, self.done = 0, 0

    def update(self, size: int) -> None:
        self.done += size
        self.progress(Progress(self.stage, self.done, self.total))

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass
