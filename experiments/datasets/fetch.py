"""Find a data set's files in the user's folders, or download them into the user's cache.

Only verified files enter the cache: a download goes to a draft, its content is
checked, and the draft is renamed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
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
    digests : ``"md5:..."`` or ``"sha256:..."`` of the content, unpacked when it is gzip; any of them is right.
    packed_digests : the same of the file as it is published, before unpacking.
    foreign : {digest of the content: name} of files of other data sets that are easily taken for this one.
    other_names : further names under which it is found.
    strict : refuse a user's file whose content is none of the known; a download is always refused.
    fingerprint : what is hashed in place of the content, for archives that hold the same files in another order.
    """

    name: str
    urls: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    packed_digests: tuple[str, ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    other_names: tuple[str, ...] = ()
    strict: bool = True
    fingerprint: Callable[[bytes], bytes] | None = None

    def find(self, folder: Path) -> Path | None:
        """Return the file within a folder, plain or gzip, or None."""
        for name in (self.name, *self.other_names):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
        return None


@dataclass(frozen=True)
class Content:
    """The unpacked bytes of a file, their digest ``kind:hex``, and whether that is a known one."""

    path: Path
    data: bytes
    digest: str
    verified: bool


def obtain(
    title: str,
    files: Sequence[DataFile],
    folder: str,
    data_dir: DataDir = None,
    progress: ProgressCallback | None = None,
    instead: Sequence[DataFile] = (),
) -> dict[str, Path]:
    """Return the path of every file, found or downloaded.

    Looked for, in this order: ``data_dir``, the folder named by ``SPIKEPORT_DATA`` (in each: its subfolder ``folder``,
    then itself), the user's cache. The first place that holds them all, or all of ``instead``, is used; a place of the
    user's that holds only some of them is an error. What is downloaded are ``files``.

    Raises
    ------
    SpecError : no such folder; some but not all files; nothing found and no download (files, places and ways to point).
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise SpecError(f"{data_dir}: no such folder; --data-dir names the folder that holds {title}")
    cache = cache_folder() / folder
    places = _places(folder, data_dir)
    for place in (*places, cache):
        found = _find_all(files, place)
        if len(found) == len(files):
            return found
        other = _find_all(instead, place)
        if instead and len(other) == len(instead):
            return other
        if (found or other) and place != cache:
            wanted, here = (files, found) if found else (instead, other)
            lacking = ", ".join(file.name for file in wanted if file.name not in here)
            raise SpecError(f"{place} holds {len(here)} of the {len(wanted)} files of {title}; not {lacking} (or .gz)")
    failures: dict[str, None] = {}
    found = _find_all(files, cache)
    for file in files:
        path = found.get(file.name) or _download(file, cache, title, progress, failures)
        if path is None:
            break
        found[file.name] = path
    else:
        return found
    names = ", ".join(file.name for file in files)
    if instead:
        names += f"; or {', '.join(file.name for file in instead)}"
    raise SpecError(
        problems(
            f"{title} was not found and could not be downloaded:",
            [
                f"files: {names} (each plain or .gz)",
                f"looked for in: {', '.join(str(place) for place in (*places, cache))}",
                *([f"download: {'; '.join(failures)}"] if failures else []),
                f"put the files into one folder and name it with --data-dir FOLDER or {VARIABLE}=FOLDER",
            ],
        )
    )


def cache_folder() -> Path:
    """Return the user's cache folder for data sets (not made yet)."""
    import pooch

    return Path(pooch.os_cache("spikeport")) / "data"


def read(file: DataFile, path: Path) -> Content:
    """Return the content of a file, unpacked when it is gzip.

    Raises
    ------
    SpecError : damaged, a file of another data set, or (where the file is strict) not the published one.
    """
    content = _read(file, path)
    another = dict(file.foreign).get(content.digest)
    if another:
        raise SpecError(f"{path}: this is a file of {another}; put each data set into a folder of its own name")
    if file.strict and not content.verified and (file.digests or file.packed_digests):
        raise SpecError(mismatch(file, content))
    return content


def _read(file: DataFile, path: Path) -> Content:
    try:
        packed = path.read_bytes()
        data = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
    except EOFError as error:
        raise SpecError(f"{path}: truncated: the gzip stream ends early; fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SpecError(f"{path}: corrupt gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error
    kind = (*file.digests, *file.packed_digests, "sha256:")[0].split(":")[0]
    try:
        digest = _digest(kind, file.fingerprint(data) if file.fingerprint else data)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise SpecError(f"{path}: not a readable archive ({error}); fetch it again") from error
    verified = digest in file.digests or _digest(kind, packed) in file.packed_digests
    return Content(path, data, digest, verified)


def _digest(kind: str, data: bytes) -> str:
    return f"{kind}:{hashlib.new(kind, data, usedforsecurity=False).hexdigest()}"


def members(data: bytes, suffix: str = "") -> dict[str, bytes]:
    """Return {path: content} of the files in a tar or zip archive whose names end with ``suffix``."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return {name: packed.read(name) for name in packed.namelist() if name.endswith(suffix) and name[-1] != "/"}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() and member.name.endswith(suffix) else None
            if stream is not None:
                found[member.name] = stream.read()
        return found


def mismatch(file: DataFile, content: Content) -> str:
    """Return in words that the content is not the published one."""
    kind, found = content.digest.split(":")
    expected = " or ".join(digest.split(":")[1] for digest in file.digests or file.packed_digests)
    what = "content" if file.digests else "file as published"
    return (
        f"{content.path}: the {kind.upper()} of its content is {found}, that of the {what} is {expected}: "
        "not the published file; fetch it again"
    )


def _find_all(files: Sequence[DataFile], folder: Path) -> dict[str, Path]:
    found = {file.name: file.find(folder) for file in files}
    return {name: path for name, path in found.items() if path is not None}


def _places(folder: str, data_dir: DataDir) -> list[Path]:
    roots = [Path(data_dir)] if data_dir is not None else []
    variable = os.environ.get(VARIABLE)
    if variable:
        roots.append(Path(variable))
    return [place for root in roots for place in (root / folder, root)]


def _download(file: DataFile, cache: Path, title: str, progress: ProgressCallback | None, failures: dict[str, None]) -> Path | None:
    """Return the file in the cache, or None and why not in ``failures``."""
    import pooch
    import requests

    for url in file.urls:
        target = cache / f"{file.name}{'.gz' if url.endswith('.gz') and not file.name.endswith('.gz') else ''}"
        draft = None
        try:
            cache.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".draft", dir=cache)
            os.close(handle)
            bar: Any = _Bar(f"downloading {title}", progress) if progress else False
            pooch.HTTPDownloader(progressbar=bar, timeout=30)(url, draft, None)
            content = _read(file, Path(draft))
            if content.verified or not (file.digests or file.packed_digests):
                os.replace(draft, target)
                return target
            failures[mismatch(file, content).replace(draft, url)] = None
        except SpecError as error:
            failures[str(error).replace(str(draft), url)] = None
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
