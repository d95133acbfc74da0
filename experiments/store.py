"""The store: one folder, one JSON and one ``.npz`` a trial; a kill, a power loss or a full disk leaves no half result.

    store.json             format, version
    trials/KEY.json        status, trial, result, provenance, and the name and SHA-256 of its arrays
    trials/KEY-HASH.npz    the arrays of the trial; the name carries the hash of the content
    shared/KIND-KEY.npz    shared stages: trained networks, converted networks, deployments
    aside/                 damaged files, kept for inspection

A trial is done when its JSON has been renamed into place; the arrays are on disk before that. Because arrays are
named by their content, two processes that finish the same trial together leave a whole record, whichever wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from neuro.archive import write_atomically
from neuro.errors import SpikeportError, StoreError

FORMAT, VERSION = "spikeport.store", 1
Array = np.ndarray
Status = Literal["done", "failed", "skipped"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What is left of one trial.

    key : SHA-256 of the trial's canonical JSON; trial : its plain values.
    status : ``"done"``, ``"failed"`` (reason: the error, trace: where) or ``"skipped"`` (reason: why it cannot be run).
    result : JSON-able numbers; arrays : {name: array}.
    provenance : versions, commit, processor, host, seconds, peak memory [byte], time finished.
    """

    key: str
    trial: Mapping[str, Any]
    status: Status
    result: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    trace: str = ""


class Store:
    """A folder of results, made where it does not exist unless ``create`` is False.

    Raises
    ------
    StoreError : the folder cannot be used, or holds a store of another version.
    """

    def __init__(self, folder: str | os.PathLike[str], create: bool = True) -> None:
        self.folder = Path(folder)
        self.trials = self.folder / "trials"
        self.shared_folder = self.folder / "shared"
        self.aside = self.folder / "aside"
        marker = self.folder / "store.json"
        if not create and not marker.exists():
            raise StoreError(f"{self.folder}: holds no store (no store.json)")
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
            self.shared_folder.mkdir(exist_ok=True)
        except OSError as error:
            why = error.strerror or error
            raise StoreError(f"{self.folder}: cannot be used as a store ({why}); name another folder") from error
        if not marker.exists():
            self._mark(marker)
        try:
            found = json.loads(marker.read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"{marker}: cannot be read ({error}); name another folder") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
            raise StoreError(
                f"{self.folder}: holds a store of version {found.get('version') if isinstance(found, dict) else '?'}, "
                f"this release reads version {VERSION}; results are never mixed: name another folder. Nothing was run or changed."
            )
        self.id: str = str(found.get("id", ""))

    def put(self, result: TrialResult) -> None:
        """Write a result: arrays first, then the record that makes it count; it replaces an earlier one of the
        trial."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "key": result.key,
            "trial": dict(result.trial),
            "status": result.status,
            "result": dict(result.result),
            "provenance": dict(result.provenance),
            "reason": result.reason,
            "trace": result.trace,
            "arrays": None,
        }
        if result.arrays:
            data = _pack(result.arrays)
            digest = hashlib.sha256(data).hexdigest()
            name = f"{result.key}-{digest[:16]}.npz"
            self._write(self.trials / name, data)
            record["arrays"] = {"file": name, "sha256": digest}
        self._write(self.trials / f"{result.key}.json", _encode(record))

    def status(self, key: str, arrays: bool = False) -> Status | None:
        """Return the status of a trial, None when there is no whole record of it; with ``arrays``, these are read too.

        Damaged files are set aside.
        """
        record = self._record(key)
        if record is not None and arrays and record["arrays"]:
            try:
                self._whole(record)
            except StoreError:
                return None
        return None if record is None else record["status"]

    def get(self, key: str, arrays: bool = True) -> TrialResult | None:
        """Return the result of a trial, None when there is no whole record of it. Damaged files are set aside."""
        record = self._record(key)
        if record is None:
            return None
        loaded: dict[str, Array] = {}
        if arrays and record["arrays"]:
            try:
                loaded = self._arrays(record)
            except StoreError:
                return None
        given = {name: record[name] for name in ("trial", "status", "result", "provenance", "reason", "trace")}
        return TrialResult(key=key, arrays=loaded, **given)

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted."""
        return sorted(p.stem for p in self.trials.glob("*.json") if not p.name.startswith("."))

    def __iter__(self) -> Iterator[TrialResult]:
        """Yield every whole result, in the order of their keys."""
        for key in self.keys():
            result = self.get(key)
            if result is not None:
                yield result

    def shared(
        self, kind: str, key: str, make: Callable[[], T], save: Callable[[T, Path], Any], load: Callable[[Path], T]
    ) -> T:
        """Return a shared stage: loaded when it is in the store, else made, saved and returned.

        A file that cannot be loaded is set aside and made again.
        """
        path = self.shared_path(kind, key)
        if path.exists():
            try:
                return load(path)
            except SpikeportError as error:
                self.set_aside(path, str(error))
        value = make()
        save(value, path)
        return value

    def has_shared(self, kind: str, key: str) -> bool:
        """Whether a shared stage is in the store."""
        return self.shared_path(kind, key).exists()

    def shared_path(self, kind: str, key: str) -> Path:
        """Return where a shared stage is, or would be."""
        return self.shared_folder / f"{kind}-{key[:32]}.npz"

    def sizes(self, folder: Path) -> list[int]:
        """Return the sizes of what a folder of the store holds, one a trial or a shared stage [byte]."""
        of = {key: 0 for key in self.keys()} if folder == self.trials else {path.stem: 0 for path in folder.glob("*.npz")}
        for path in folder.iterdir():
            name = path.stem.split("-")[0] if folder == self.trials else path.stem
            if name in of:
                with contextlib.suppress(FileNotFoundError):  # another process sets it aside
                    of[name] += path.stat().st_size
        return list(of.values())

    def damaged(self) -> list[str]:
        """Return the names and reasons of the files that were set aside."""
        notes = sorted(self.aside.glob("*.reason")) if self.aside.exists() else []
        return [f"{note.name.removesuffix('.reason')}: {note.read_text().strip()}" for note in notes]

    def set_aside(self, path: Path, reason: str) -> None:
        """Move a damaged file to ``aside/`` with the reason beside it; another process may have done so already."""
        self.aside.mkdir(exist_ok=True)
        target = self.aside / f"{path.name}.{time.time_ns()}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, target)
            Path(f"{target}.reason").write_text(reason + "\n")
            warnings.warn(f"{path}: damaged ({reason}); set aside, it will be made again", stacklevel=2)

    def clean(self, older_than: float = 3600.0) -> int:
        """Remove drafts and arrays without a record, untouched for ``older_than`` seconds; return how many."""
        named = {r["arrays"]["file"] for r in map(self._record, self.keys()) if r is not None and r["arrays"]}
        before, removed = time.time() - older_than, 0
        for path in [*self.trials.iterdir(), *self.shared_folder.iterdir()]:
            unnamed = path.parent == self.trials and path.suffix == ".npz" and path.name not in named
            orphan = path.name.endswith(".draft") or unnamed
            with contextlib.suppress(FileNotFoundError):
                if orphan and path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def _record(self, key: str) -> dict[str, Any] | None:
        path = self.trials / f"{key}.json"
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            self.set_aside(path, f"not JSON: {error}")
            return None
        missing = [name for name in RECORD if not isinstance(record, dict) or name not in record]
        if missing:
            self.set_aside(path, f"without {', '.join(missing)}")
            return None
        if record["format"] != FORMAT or record["version"] != VERSION:
            raise StoreError(f"{path}: of version {record['version']}, this release reads version {VERSION}")
        if record["key"] != key:
            self.set_aside(path, f"the record of another trial, {record['key']}")
            return None
        if record["arrays"] and not (self.trials / record["arrays"]["file"]).exists():
            self.set_aside(path, f"its arrays {record['arrays']['file']} are gone")
            return None
        return record

    def _arrays(self, record: Mapping[str, Any]) -> dict[str, Array]:
        with np.load(io.BytesIO(self._whole(record)), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def _whole(self, record: Mapping[str, Any]) -> bytes:
        """Return the bytes of a record's arrays; set both aside when they are not what was written."""
        path = self.trials / record["arrays"]["file"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != record["arrays"]["sha256"]:
            self.set_aside(path, "its SHA-256 is not the one in its record")
            self.set_aside(self.trials / f"{record['key']}.json", f"its arrays {path.name} are damaged")
            raise StoreError(f"{path}: damaged; set aside, the trial will be run again")
        return data

    def _mark(self, marker: Path) -> None:
        """Write ``store.json`` unless another process is quicker: a link, unlike a rename, never replaces."""
        draft = self.folder / f".store.{uuid.uuid4().hex}.draft"
        self._write(draft, _encode({"format": FORMAT, "version": VERSION, "id": uuid.uuid4().hex}))
        try:
            os.link(draft, marker)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(draft, marker)
        draft.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        write_atomically(path, data)
        _sync_folder(path.parent)


RECORD = ("format", "version", "key", "trial", "status", "result", "provenance", "reason", "trace", "arrays")


def canonical(value: Any) -> str:
    """Return the canonical JSON of plain values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def key_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of plain values."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _encode(record: Mapping[str, Any]) -> bytes:
    # json refuses NaN, which JSON does not have; its own indentation is ten times slower.
    return msgspec.json.format(json.dumps(record, sort_keys=True, allow_nan=False).encode(), indent=1) + b"\n"


def _pack(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            # Of fixed date, so that the same arrays are the same file.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, member.getvalue(), compresslevel=1)
    return buffer.getvalue()
