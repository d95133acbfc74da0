import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest

from experiments.datasets import DATASETS, load_dataset, loader, split_indices
from experiments.datasets import digits as digits_module
from neuro.errors import SpecError


def test_every_entry_of_the_table_resolves_to_a_function():
    for name, entry in DATASETS.items():
        assert callable(loader(name))
        assert entry.summary


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'digits'"):
        load_dataset("digts")


def test_options_are_refused_where_there_are_none():
    with pytest.raises(SpecError, match="no settings"):
        load_dataset("digits", options={"colour": 1})


def test_digits_are_the_published_ones():
    data = load_dataset("digits")
    assert data.x_train.shape == (1347, 64) and data.x_test.shape == (450, 64)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64
    both = np.concatenate([data.x_train, data.x_test])
    assert both.min() == 0 and both.max() == 1
    # Class counts of the UCI test part, as its documentation states them.
    counts = np.bincount(np.concatenate([data.y_train, data.y_test]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert "CC BY 4.0" in data.licence and data.seed == 0
    assert data.describe() == "digits: 1,797 samples, 64 inputs, 10 classes (1,347 train / 450 test, seed 0)"


def test_digits_equal_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets")
    theirs = sklearn.load_digits()
    ours = load_dataset("digits", seed=5)
    key = [hashlib.md5((x * 16).astype(np.uint8).tobytes() + bytes([y])).digest() for x, y in _samples(ours)]
    other = [hashlib.md5(x.astype(np.uint8).tobytes() + bytes([y])).digest() for x, y in zip(theirs.data, theirs.target, strict=True)]
    assert sorted(key) == sorted(other)


def _samples(data):
    yield from zip(data.x_train, data.y_train, strict=True)
    yield from zip(data.x_test, data.y_test, strict=True)


def test_digits_split_follows_the_seed_alone():
    first, again, other = load_dataset("digits", seed=3), load_dataset("digits", seed=3), load_dataset("digits", seed=4)
    assert np.array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, other.x_test)


def test_damaged_digits_file_is_named(tmp_path, monkeypatch):
    damaged = bytearray(digits_module.FILE.read_bytes())
    damaged[1000] ^= 1
    file = tmp_path / "digits.npz"
    file.write_bytes(damaged)
    monkeypatch.setattr(digits_module, "FILE", file)
    with pytest.raises(SpecError, match="SHA-256"):
        load_dataset("digits")
    monkeypatch.setattr(digits_module, "FILE", tmp_path / "absent.npz")
    with pytest.raises(SpecError, match="install spikeport again"):
        load_dataset("digits")


def test_split_is_a_partition_with_every_class_in_proportion():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    train, test = split_indices(100, 25, seed=1, labels=labels)
    assert sorted([*train, *test]) == list(range(100))
    counts = np.bincount(labels[test])
    assert counts.sum() == 25 and (np.abs(counts - [12.5, 7.5, 5]) < 1).all()
    # Fixed numbers: a split must not change with NumPy or the platform.
    assert split_indices(12, 4, seed=0)[1].tolist() == [0, 3, 8, 9]


def test_split_refuses_an_empty_part():
    for n_test in (0, 10):
        with pytest.raises(SpecError, match="expected 1 to 9"):
            split_indices(10, n_test, seed=0)


def test_dataset_names_every_contradiction():
    good = load_dataset("digits")
    with pytest.raises(SpecError) as error:
        replace(good, y_train=good.y_train[:-1], y_test=good.y_test + 5)
    assert "1347 samples, y_train 1346" in str(error.value) and "expected 0 to 9" in str(error.value)
    bad = good.x_test.copy()
    bad[7, 3] = np.nan
    with pytest.raises(SpecError, match="x_test holds 1 NaN or infinite values, the first in sample 7"):
        replace(good, x_test=bad)


# --- the user's own files -------------------------------------------------------------------------------------------


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return rng.random((40, 6)).astype(np.float32), np.arange(40) % 4


def test_npz_is_split_by_seed(tmp_path, samples):
    x, y = samples
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    data = load_dataset(tmp_path / "mine.npz", seed=2)
    assert data.x_train.shape == (30, 6) and data.x_test.shape == (10, 6)
    assert data.classes == ("0", "1", "2", "3") and data.seed == 2
    assert data.info["sha256"] == hashlib.sha256((tmp_path / "mine.npz").read_bytes()).hexdigest()
    assert sorted(map(tuple, np.concatenate([data.x_train, data.x_test]))) == sorted(map(tuple, x))


def test_npz_with_its_own_test_part(tmp_path, samples):
    x, y = samples
    np.savez(tmp_path / "mine.npz", x=x[:30], y=y[:30], x_test=x[30:], y_test=y[30:], classes=list("abcd"))
    data = load_dataset(str(tmp_path / "mine.npz"))
    assert np.array_equal(data.x_test, x[30:]) and np.array_equal(data.y_test, y[30:])
    assert data.seed is None and data.classes == ("a", "b", "c", "d")


def test_npz_images_are_flattened_and_divided(tmp_path):
    images = np.arange(8 * 4 * 4).reshape(8, 4, 4).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=images, y=np.arange(8) % 2)
    data = load_dataset(tmp_path / "mine.npz", options={"divisor": 255.0, "test_fraction": 0.5})
    assert data.x_train.shape == (4, 16) and data.input_shape == (4, 4)
    assert np.isclose(max(data.x_train.max(), data.x_test.max()), 127 / 255)
    kept = load_dataset(tmp_path / "mine.npz", options={"sequences": True})
    assert kept.sequences and kept.x_train.shape[1:] == (4, 4)


def test_npz_floats_are_regression_and_text_is_classes(tmp_path, samples):
    x, y = samples
    np.savez(tmp_path / "values.npz", x=x, y=y / 3)
    values = load_dataset(tmp_path / "values.npz")
    assert values.task == "regression" and values.y_train.shape == (30, 1) and values.y_train.dtype == np.float32
    np.savez(tmp_path / "names.npz", x=x, y=np.array(["oak", "ash", "elm", "fir"])[y])
    names = load_dataset(tmp_path / "names.npz")
    assert names.classes == ("ash", "elm", "fir", "oak")


def test_label_values_keep_their_meaning_when_one_is_absent(tmp_path, samples):
    x, y = samples
    keep = y != 1
    np.savez(tmp_path / "mine.npz", x=x[keep], y=y[keep])
    data = load_dataset(tmp_path / "mine.npz")
    assert data.n_out == 4 and set(data.y_train) == {0, 2, 3}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_and_without_header(tmp_path, samples, delimiter):
    x, y = samples
    rows = [delimiter.join([*(f"{v:.6f}" for v in row), str(label)]) for row, label in zip(x, y, strict=True)]
    (tmp_path / "plain.csv").write_text("\n".join(rows) + "\n")
    head = delimiter.join(["Label", *(f"f{i}" for i in range(6))])
    turned = [delimiter.join([row.split(delimiter)[-1], *row.split(delimiter)[:-1]]) for row in rows]
    (tmp_path / "head.csv").write_text("\n".join([head, *turned]) + "\n")
    plain, named = load_dataset(tmp_path / "plain.csv"), load_dataset(tmp_path / "head.csv")
    assert np.array_equal(plain.x_train, named.x_train) and np.array_equal(plain.y_test, named.y_test)
    assert plain.x_train.shape == (30, 6) and plain.n_out == 4


def test_csv_of_values_and_of_text(tmp_path):
    (tmp_path / "values.csv").write_text("a,y\n" + "\n".join(f"{i},{i / 2}" for i in range(8)))
    assert load_dataset(tmp_path / "values.csv").task == "regression"
    (tmp_path / "text.csv").write_text("a,b,kind\n" + "\n".join(f"{i},1,{'cat' if i % 2 else 'dog'}" for i in range(8)))
    assert load_dataset(tmp_path / "text.csv").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2,0\n1,zwei,1\n", "zwei"),
        ("1,2,0\n1,2\n", "line 2 has 2 fields, expected 3"),
        ("lonely\n1\n", "one column"),
        ("1,nan,0\n1,2,1\n2,2,0\n2,2,1\n1,1,0\n3,3,1\n", "NaN"),
        ("", "one column"),
    ],
)
def test_bad_csv_is_named(tmp_path, content, message):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(SpecError, match=message):
        load_dataset(tmp_path / "bad.csv")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "no array y"),
        ({"a": np.zeros(3)}, r"no array x and no y \(found a\)"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int), "x_test": np.zeros((2, 2))}, "no array y_test"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3, int)}, "4 samples, y 3"),
        ({"x": np.zeros(4), "y": np.zeros(4, int)}, r"shape \(4,\)"),
        ({"x": np.array([["a"]] * 4), "y": np.zeros(4, int)}, "expected numbers"),
        ({"x": np.zeros((4, 2)), "y": np.array([0, 1, -1, 0])}, "-1 to 1"),
        ({"x": np.zeros((4, 2)), "y": np.array([0, 1, 500, 0])}, "0 to 500"),
        ({"x": np.zeros((8, 2)), "y": np.zeros((8, 3), int)}, r"y has shape \(8, 3\)"),
        ({"x": np.full((8, 2), np.inf), "y": np.arange(8) % 2}, "infinite"),
        ({"x": np.zeros((2, 2)), "y": [0, 1], "x_test": np.zeros((2, 3)), "y_test": [0, 1]}, "samples of shape"),
    ],
)
def test_bad_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(SpecError, match=message):
        load_dataset(tmp_path / "bad.npz")


def test_files_that_are_not_archives(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        load_dataset(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(SpecError, match=r"not a readable .npz"):
        load_dataset(tmp_path / "broken.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), y=np.zeros(1, int))
    with pytest.raises(SpecError, match="Python objects"):
        load_dataset(tmp_path / "objects.npz")


def test_wrong_option_names_the_nearest(tmp_path, samples):
    np.savez(tmp_path / "mine.npz", x=samples[0], y=samples[1])
    with pytest.raises(SpecError, match="did you mean 'divisor'"):
        load_dataset(tmp_path / "mine.npz", options={"divisr": 2.0})
    with pytest.raises(SpecError, match="test_fraction is 1.5"):
        load_dataset(tmp_path / "mine.npz", options={"test_fraction": 1.5})


def test_relative_file_is_found_in_data_dir(tmp_path, samples, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=samples[0], y=samples[1])
    monkeypatch.chdir(os.path.dirname(tmp_path))
    assert load_dataset("mine.npz", data_dir=tmp_path).n_in == 6
