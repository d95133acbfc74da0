"""Named arrays plus a JSON header in one ``.npz`` file, without pickle.

Every file the project saves (trained networks, spiking networks, deployments,
recordings) is such an archive. It is written to a draft beside its target and
renamed, so that a reader never sees half a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DiskFullError, StoreError

HEADER = "header.json"
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room left on the device, or in the user's share of it


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` to a draft in the same folder, flush it to disk, and rename it to ``path``.

    Raises
    ------
    DiskFullError : no room; says how much is needed and how much is free. StoreError : another reason.
    """
    target = Path(path)
    draft: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".draft", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, target)
        draft = None
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(f"{target}: the disk is full; {_room(target, len(data))}; make room and try again") from error
        raise StoreError(f"{target}: cannot be written ({error.strerror or error}); nothing was written") from error
    finally:
        if draft is not None:
            with contextlib.suppress(OSError):
                os.unlink(draft)
    return target


def _room(target: Path, size: int) -> str:
    """Return how much a file needs, and how much is free where its folder could be made."""
    needed = f"this file needs {size:,} bytes"
    with contextlib.suppress(OSError):
        return f"{needed}, {shutil.disk_usage(target.parent).free:,} are free"
    return needed


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def fingerprint(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of header and arrays, the header's free-form ``info`` left out."""
    digest = hashlib.sha256(json.dumps({key: header[key] for key in header if key != "info"}, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(
    path: str | os.PathLike[str],
    format_name: str,
    version: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> Path:
    """Save ``arrays`` and a JSON ``header`` naming the format and its version."""
    buffer = io.BytesIO()
    text = json.dumps({"format": format_name, "version": version, **header}, allow_nan=False, sort_keys=True)
    # Fixed time stamps, so that the same content is the same file.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER, (1980, 1, 1, 0, 0, 0)), text)
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return write_atomically(path, buffer.getvalue())


def peek(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the header of an archive of ours, or None when the file is some other ``.npz``."""
    try:
        with zipfile.ZipFile(path) as archive:
            if HEADER not in archive.namelist():
                return None
            header = json.loads(archive.read(HEADER))
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file") from error
    except (OSError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise StoreError(f"{path}: not a readable .npz archive ({error})") from error
    return header if isinstance(header, dict) else None


def load(path: str | os.PathLike[str], format_name: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return (header, arrays) of an archive; raise StoreError when it is of another format or version."""
    header = peek(path)
    if header is None or header.get("format") != format_name:
        found = "an .npz file without our header" if header is None else f"a {header.get('format')!r} file"
        raise StoreError(f"{path}: expected a {format_name!r} file, found {found}")
    if header.get("version") != version:
        raise StoreError(
            f"{path}: {format_name} version {header.get('version')}, this release reads version {version}; make it again"
        )
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as member:
                        arrays[name[:-4]] = np.lib.format.read_array(member, allow_pickle=False)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise StoreError(f"{path}: damaged ({error})") from error
    return header, arrays
