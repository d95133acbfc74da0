"""The results of a store as a table that others can read."""

import csv

import pytest

from experiments.export import columns_of, export, ordered, printed, summary_columns, table, write_csv
from experiments.store import Store, TrialResult
from neuro.errors import SpecError, StoreError


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


def test_filters_that_compare_numbers_and_words(tiny):
    store = Store(tiny.folder, create=False)
    every = table(store)
    good = table(store, ["accuracy>=0.5", "run.n_steps<8"])
    assert {r["key"] for r in good} == {r["key"] for r in every if r["accuracy"] >= 0.5 and (r["run.n_steps"] or 99) < 8}
    assert len(table(store, ["group!=ann"])) == 12
    with pytest.raises(SpecError, match="'much' is no number"):
        table(store, ["accuracy>much"])


def test_order_and_columns(rows):
    down = [r["energy_J"] for r in ordered(rows, "-energy_J")]
    there = [e for e in down if e is not None]
    assert there == sorted(there, reverse=True) and down[len(there) :] == [None] * (len(rows) - len(there))
    assert [r["group"] for r in ordered(rows, "group")] == sorted(r["group"] for r in rows)
    assert list(columns_of(rows, ["seed", "key"])[0]) == ["seed", "key"]
    with pytest.raises(SpecError, match="'sed'; did you mean 'seed'"):
        columns_of(rows, ["sed"])
    names = summary_columns(rows)
    assert {"seed", "run.n_steps", "accuracy", "energy_J"} <= set(names) and "reason" not in names and "data.limit" not in names
    heads, fields = printed(columns_of(rows, names))
    assert len(fields) == len(rows) and "n_steps" in heads and all(len(f) == len(heads) for f in fields)


def test_pandas_and_duckdb_read_the_export(rows, tmp_path):
    pandas = pytest.importorskip("pandas")
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    mean = sum(r["accuracy"] for r in rows if r["run.n_steps"] == 8) / sum(r["run.n_steps"] == 8 for r in rows)
    for name, read in (("r.csv", pandas.read_csv), ("r.parquet", pandas.read_parquet)):
        path = export(rows, tmp_path / name)
        frame = read(path)
        assert len(frame) == len(rows) and frame[frame["run.n_steps"] == 8]["accuracy"].mean() == pytest.approx(mean)
        assert frame["energy_J"].isna().sum() == sum(r["energy_J"] is None for r in rows)
        found = duckdb.sql(f"""select avg(accuracy) from '{path}' where "run.n_steps" = 8""").fetchall()[0]
        assert found[0] == pytest.approx(mean)


def test_a_record_of_another_release_is_named(tmp_path):
    store = Store(tmp_path)
    store.put(TrialResult("ab" * 32, {"seed": 0, "future": 1}, "done"))
    with pytest.raises(StoreError, match="made by a release with other settings"):
        table(store)
