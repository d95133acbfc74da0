"""The store: what was reported done is there and whole, whatever happened to the process, the disk or a second writer."""

import errno
import json
import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.store import Store, TrialResult, canonical, key_of
from neuro.errors import DiskFullError, StoreError

KEY = "ab" * 32
pytestmark = pytest.mark.filterwarnings("ignore:.*damaged.*set aside")


def result(key=KEY, status="done", value=1, size=10):
    arrays = {"x": np.arange(size) + value, "y": np.eye(2) * value}
    return TrialResult(key, {"seed": value}, status, {"value": value}, arrays, {"seconds": 0.5}, "why", "trace")


def same(a, b):
    assert (a.key, a.trial, a.status, a.result, a.reason) == (b.key, b.trial, b.status, b.result, b.reason)
    assert a.arrays.keys() == b.arrays.keys()
    assert all(np.array_equal(a.arrays[n], b.arrays[n]) and a.arrays[n].dtype == b.arrays[n].dtype for n in a.arrays)


def test_what_was_put_is_got_back_also_by_another_store(tmp_path):
    store = Store(tmp_path / "s")
    assert store.get(KEY) is None and store.status(KEY) is None
    store.put(result())
    again = Store(tmp_path / "s")
    assert again.id == store.id
    same(again.get(KEY), result())
    assert again.status(KEY) == "done" and again.keys() == [KEY]
    assert [r.key for r in again] == [KEY]
    assert not again.get(KEY, arrays=False).arrays


def test_a_later_result_replaces_an_earlier_one(tmp_path):
    store = Store(tmp_path)
    store.put(result(status="failed"))
    store.put(result(value=2))
    same(store.get(KEY), result(value=2))


def test_the_folder_may_move(tmp_path):
    Store(tmp_path / "a").put(result())
    (tmp_path / "a").rename(tmp_path / "b")
    same(Store(tmp_path / "b").get(KEY), result())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "x"}', b"\x00\xff"])
def test_a_damaged_record_is_named_set_aside_and_missing(tmp_path, content):
    store = Store(tmp_path)
    store.put(result())
    (store.trials / f"{KEY}.json").write_bytes(content)
    with pytest.warns(UserWarning, match=f"{KEY}.json: damaged .* set aside"):
        assert store.get(KEY) is None
    assert not (store.trials / f"{KEY}.json").exists()
    assert len(store.damaged()) == 1 and KEY in store.damaged()[0]
    store.put(result())
    same(store.get(KEY), result())


def test_damaged_arrays_are_set_aside_with_their_record(tmp_path):
    store = Store(tmp_path)
    store.put(result())
    arrays = next(store.trials.glob("*.npz"))
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
    assert store.status(KEY) == "done" and store.status(KEY, arrays=True) is None
    assert store.get(KEY) is None and store.status(KEY) is None
    assert any("SHA-256" in line for line in store.damaged())


def test_absent_arrays_make_the_trial_missing(tmp_path):
    store = Store(tmp_path)
    store.put(result())
    next(store.trials.glob("*.npz")).unlink()
    assert store.status(KEY) is None
    assert "gone" in store.damaged()[0]


def test_a_record_under_another_name_is_set_aside(tmp_path):
    store = Store(tmp_path)
    store.put(result())
    other = "cd" * 32
    (store.trials / f"{KEY}.json").rename(store.trials / f"{other}.json")
    assert store.get(other) is None and "another trial" in store.damaged()[0]


def test_a_store_of_another_version_is_refused(tmp_path):
    Store(tmp_path)
    marker = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps({**marker, "version": 99}))
    with pytest.raises(StoreError, match="version 99, this release reads version 1.*never mixed"):
        Store(tmp_path)


def test_no_store_and_no_folder(tmp_path):
    with pytest.raises(StoreError, match="no store"):
        Store(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used as a store"):
        Store(tmp_path / "file" / "s")


def test_a_full_disk_stops_cleanly_and_loses_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(result())

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neuro.archive.os.fsync", full)
    other = "cd" * 32
    with pytest.raises(DiskFullError, match=r"disk is full; this file needs [\d,]+ bytes, [\d,]+ are free"):
        store.put(result(key=other))
    monkeypatch.undo()
    assert store.status(other) is None
    same(store.get(KEY), result())
    assert not list(tmp_path.rglob("*.draft"))


def test_shared_stages_are_made_once_and_again_when_damaged(tmp_path):
    store, made = Store(tmp_path), []

    def make():
        made.append(1)
        return np.arange(4)

    def load(path):
        try:
            return np.load(path)
        except (ValueError, OSError) as error:
            raise StoreError("damaged") from error

    def shared():
        return store.shared("thing", KEY, make, lambda v, p: p.write_bytes(_npy(v)), load)

    assert not store.has_shared("thing", KEY)
    assert np.array_equal(shared(), shared()) and len(made) == 1 and store.has_shared("thing", KEY)
    store.shared_path("thing", KEY).write_bytes(b"no array")
    assert np.array_equal(shared(), np.arange(4)) and len(made) == 2 and len(store.damaged()) == 1


def _npy(value):
    import io

    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def test_clean_removes_old_orphans_only(tmp_path):
    store = Store(tmp_path)
    store.put(result())
    orphan, draft = store.trials / f"{'cd' * 32}-1234.npz", store.trials / ".x.draft"
    for path in (orphan, draft):
        path.write_bytes(b"x")
    assert store.clean(older_than=3600) == 0 and orphan.exists()
    assert store.clean(older_than=-10) == 2 and not orphan.exists() and not draft.exists()
    same(store.get(KEY), result())


def _write_many(folder, first, keys):
    store = Store(folder)
    for value, key in enumerate(keys):
        store.put(result(key=key, value=first + value % 3, size=2000))


def test_two_processes_may_write_the_same_trials_at_once(tmp_path):
    keys = [key_of(i) for i in range(40)]
    context = get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, first, keys)) for first in (0, 10)]
    for w in writers:
        w.start()
    for w in writers:
        w.join()
    assert [w.exitcode for w in writers] == [0, 0]
    store = Store(tmp_path)
    for key in keys:
        found = store.get(key)
        assert found is not None and found.arrays["x"][0] == found.result["value"]
    assert store.damaged() == [] and not list(tmp_path.rglob("*.draft"))


WRITER = """
import sys, itertools
sys.path[:0] = [{root!r}, {here!r}]
from test_store import result
from experiments.store import Store, key_of
store = Store({folder!r})
for i in itertools.count():
    store.put(result(key=key_of(i), value=i, size=20000))
    print(key_of(i), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_kill_9_loses_nothing_that_was_reported_done(tmp_path, root):
    here = str(Path(__file__).parent)
    for turn in range(2):
        folder = tmp_path / str(turn)
        code = WRITER.format(root=str(root), here=here, folder=str(folder))
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            reported = [process.stdout.readline().strip() for _ in range(5 + 7 * turn)]
            os.kill(process.pid, signal.SIGKILL)
            reported += process.stdout.read().split()
        store = Store(folder)
        for key in filter(None, reported):
            if len(key) == 64:
                assert store.get(key) is not None
        assert len(reported) > 4 and store.damaged() == []


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), PLAIN, max_size=5))
def test_a_key_does_not_depend_on_order_and_survives_json(value):
    assert key_of(value) == key_of(dict(reversed(value.items()))) == key_of(json.loads(canonical(value)))


def test_the_key_of_known_values_never_changes():
    assert canonical({"b": 1.5, "a": [1, None, "é"]}) == '{"a":[1,null,"\\u00e9"],"b":1.5}'
    assert key_of({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
