"""The results of a store as a table that others can read."""

import csv

import pytest

from experiments.export import export, table, write_csv
from experiments.store import Store
from neuro.errors import SpecError


@pytest.fixture(scope="module")
def rows(tiny):
    return table(Store(tiny.folder, create=False))


def test_a_row_a_trial_with_every_setting(tiny, rows):
    assert {r["key"] for r in rows} == {t.key for t in tiny.experiment.trials}
    assert all(r.keys() == rows[0].keys() for r in rows)
    for row in rows:
        assert row["status"] == "done" and row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert (row["energy_J"] is None) == (row["group"] in ("ann", "ideal"))
        assert row["model.hidden"] == "[24, 16]" and row["reason"] is None


def test_filters(tiny):
    store = Store(tiny.folder, create=False)
    found = table(store, ["run.n_steps=8", "group=chip"])
    assert len(found) == 2 and {r["seed"] for r in found} == {0, 1}
    assert table(store, ["status=failed"]) == []
    with pytest.raises(SpecError, match="did you mean 'run.n_steps'"):
        table(store, ["run.n_step=8"])
    with pytest.raises(SpecError, match="expected NAME=VALUE"):
        table(store, ["8"])


def test_csv(rows, tmp_path):
    export(rows, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as stream:
        back = list(csv.DictReader(stream))
    assert len(back) == 14 and [float(r["accuracy"]) for r in back] == [r["accuracy"] for r in rows]
    assert {r["energy_J"] for r in back if r["group"] == "ideal"} == {""}
    write_csv([], tmp_path / "empty.csv")
    with pytest.raises(SpecError, match="cannot write .xls"):
        export(rows, tmp_path / "r.xls")


def test_parquet(rows, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    back = pq.read_table(export(rows, tmp_path / "r.parquet")).to_pylist()
    assert [r["accuracy"] for r in back] == [r["accuracy"] for r in rows]
    assert [r["run.n_steps"] for r in back] == [r["run.n_steps"] for r in rows]
    mixed = [{"a": 1, "b": "x"}, {"a": 2.5, "b": 3}, {"a": None, "b": None}]
    back = pq.read_table(export(mixed, tmp_path / "m.parquet")).to_pylist()
    assert [r["a"] for r in back] == [1.0, 2.5, None] and [r["b"] for r in back] == ["x", "3", None]
