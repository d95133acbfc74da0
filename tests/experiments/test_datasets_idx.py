"""The four-file image sets: found, downloaded, checked; nothing half-loaded."""

import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading

import numpy as np
import pytest

from experiments.datasets import fashion_mnist, fetch, load_dataset
from experiments.datasets.idx import COUNTS, NAMES, data_files, load_images, parse
from neuro.errors import SpecError

SMALL = (30, 30, 20, 20)


def idx(array):
    return struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def contents():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (30, 20)]
    labels = [np.arange(n, dtype=np.uint8) % 10 for n in (30, 20)]
    return dict(zip(NAMES, map(idx, (images[0], labels[0], images[1], labels[1])), strict=True))


@pytest.fixture
def folder(tmp_path, contents):
    place = tmp_path / "user" / "mnist"
    place.mkdir(parents=True)
    for name, content in contents.items():
        (place / f"{name}.gz").write_bytes(gzip.compress(content))
    return place


@pytest.fixture(autouse=True)
def no_data_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("SPIKEPORT_DATA", raising=False)
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "cache")


def load(data_dir=None, mirrors=(), digests=(), progress=None, packed_digests=()):
    return load_images(
        name="mnist", title="MNIST", files=data_files(mirrors, digests, packed_digests), counts=SMALL,
        classes=tuple("0123456789"), licence="", source="", data_dir=data_dir, progress=progress,
    )  # fmt: skip


def test_files_are_read_from_the_folder_or_its_subfolder_gzip_or_plain(folder, contents):
    first = load(folder.parent)
    assert first.x_train.shape == (30, 784) and first.y_test.tolist() == [*range(10), *range(10)]
    pixels = np.frombuffer(contents[NAMES[0]][16:], np.uint8).reshape(30, 784)
    assert np.array_equal(first.x_train, pixels.astype(np.float32) / np.float32(255))
    for name, content in contents.items():
        (folder / f"{name}.gz").unlink()
        (folder / name.replace("-idx", ".idx")).write_bytes(content)
    assert np.array_equal(load(folder).x_train, first.x_train)


def test_environment_variable_names_the_folder(folder, monkeypatch):
    for place in (folder, folder.parent):
        monkeypatch.setenv("SPIKEPORT_DATA", str(place))
        assert len(load().x_train) == 30


def test_the_named_folder_comes_before_the_variable(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEPORT_DATA", str(tmp_path / "elsewhere"))
    assert str(folder) in load(folder).info["files"][NAMES[0]]


def test_absent_folder_and_part_of_the_files_are_errors(folder, tmp_path):
    with pytest.raises(SpecError, match="no such folder"):
        load(tmp_path / "nowhere")
    (folder / f"{NAMES[1]}.gz").unlink()
    with pytest.raises(SpecError, match=f"3 of the 4 files of MNIST; not {NAMES[1]}"):
        load(folder)


def test_without_files_and_network_the_error_names_files_places_and_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEPORT_DATA", str(tmp_path / "variable"))
    (tmp_path / "given").mkdir()
    with pytest.raises(SpecError) as error:
        load(tmp_path / "given", mirrors=["http://127.0.0.1:9/mnist"])
    text = str(error.value)
    for name in NAMES:
        assert name in text
    for place in ("given", "given/mnist", "variable", "variable/mnist", "cache/mnist"):
        assert str(tmp_path / place) in text
    assert "--data-dir FOLDER" in text and "SPIKEPORT_DATA=FOLDER" in text and "127.0.0.1:9 cannot be reached" in text


def damage(folder, number, change):
    path = folder / f"{NAMES[number]}.gz"
    path.write_bytes(change(path.read_bytes()))


def repack(change):
    return lambda data: gzip.compress(change(gzip.decompress(data)))


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (0, lambda data: data[:-100], "truncated"),
        (0, lambda data: data[:50] + bytes(40) + data[90:], "corrupt gzip"),
        (0, repack(lambda data: data[:-5]), "truncated: 23531 bytes, its header says 23536"),
        (0, repack(lambda data: data + b"x"), "longer than it says"),
        (1, repack(lambda data: data[:2]), "not an IDX file of labels"),
        (1, repack(lambda data: data[:6]), "truncated: 6 bytes, the header alone has 8"),
        (2, repack(lambda data: b"\x89PNG" + data[4:]), "not an IDX file of images"),
        (3, repack(lambda data: idx(np.full(20, 11, np.uint8))), "holds label 11"),
        (3, repack(lambda data: idx(np.zeros(19, np.uint8))), "holds 19 samples, expected 20"),
        (2, repack(lambda data: idx(np.zeros((20, 8, 8), np.uint8))), "images of 8x8 pixels"),
        (1, lambda data: b"", "not an IDX file"),
    ],
)
def test_damaged_file_is_named(folder, number, change, message):
    damage(folder, number, change)
    with pytest.raises(SpecError, match=message) as error:
        load(folder)
    assert NAMES[number] in str(error.value) and "Nothing was loaded" in str(error.value)


def test_swapped_files_are_named(folder):
    images, labels = folder / f"{NAMES[0]}.gz", folder / f"{NAMES[1]}.gz"
    both = images.read_bytes(), labels.read_bytes()
    images.write_bytes(both[1])
    labels.write_bytes(both[0])
    with pytest.raises(SpecError) as error:
        load(folder)
    assert "holds labels where images are expected" in str(error.value)
    assert "holds images where labels are expected" in str(error.value)


def test_training_and_test_files_swapped(folder):
    first, second = folder / f"{NAMES[1]}.gz", folder / f"{NAMES[3]}.gz"
    both = first.read_bytes(), second.read_bytes()
    first.write_bytes(both[1])
    second.write_bytes(both[0])
    with pytest.raises(SpecError, match="training and test files swapped"):
        load(folder)


def test_content_with_another_checksum_is_refused(folder, contents):
    digests = [f"md5:{hashlib.md5(contents[name]).hexdigest()}" for name in NAMES]
    assert load(folder, digests=digests).info["verified"]
    damage(folder, 0, repack(lambda data: data[:-1] + bytes([data[-1] ^ 1])))
    with pytest.raises(SpecError, match="the MD5 of its content is"):
        load(folder, digests=digests)


def test_parse_refuses_an_empty_file(tmp_path):
    with pytest.raises(SpecError, match="found 0 bytes"):
        parse(tmp_path / "x", b"", "images")


# --- download ------------------------------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "server"
    root.mkdir()
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def publish(root, contents):
    for name, content in contents.items():
        (root / f"{name}.gz").write_bytes(gzip.compress(content))
    return [f"md5:{hashlib.md5(contents[name]).hexdigest()}" for name in NAMES]


def test_download_goes_to_the_cache_once_and_is_verified(server, contents, tmp_path, capfd):
    root, url = server
    digests = publish(root, contents)
    reports = []
    data = load(mirrors=[url], digests=digests, progress=reports.append)
    assert len(data.x_train) == 30
    assert sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir()) == sorted(f"{name}.gz" for name in NAMES)
    assert reports and all(report.stage == "downloading MNIST" for report in reports)
    assert reports[-1].done == reports[-1].total > 0
    assert capfd.readouterr() == ("", "")
    for name in NAMES:
        (root / f"{name}.gz").unlink()
    assert np.array_equal(load(mirrors=[url], digests=digests).x_train, data.x_train)


def test_download_turns_to_the_next_mirror(server, contents):
    root, url = server
    digests = publish(root, contents)
    assert len(load(mirrors=["http://127.0.0.1:9", f"{url}/absent", url], digests=digests).x_test) == 20


def test_wrong_download_is_not_kept(server, contents, tmp_path):
    root, url = server
    digests = publish(root, contents)
    publish(root, {**contents, NAMES[2]: contents[NAMES[2]][:-1] + b"\x00"})
    with pytest.raises(SpecError, match="not the published file"):
        load(mirrors=[url], digests=digests)
    kept = sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir())
    assert kept == sorted(f"{name}.gz" for name in NAMES[:2])
    (root / f"{NAMES[2]}.gz").write_bytes(gzip.compress(contents[NAMES[2]]))
    assert len(load(mirrors=[url], digests=digests).x_test) == 20


def test_download_checksum_and_missing_address(server, contents, tmp_path):
    root, url = server
    publish(root, contents)
    with pytest.raises(SpecError, match=f"{url}.* that of the file as published is 0: not the published file"):
        load(mirrors=[url], packed_digests=["md5:0"] * 4)
    packed = [f"md5:{hashlib.md5((root / f'{name}.gz').read_bytes()).hexdigest()}" for name in NAMES]
    assert load(mirrors=[url], packed_digests=packed).info["verified"]
    for path in (tmp_path / "cache" / "mnist").iterdir():
        path.unlink()
    (root / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(SpecError, match=f"{NAMES[3]}.gz answered 404"):
        load(mirrors=[url])


def test_cache_that_cannot_be_written(server, contents, tmp_path, monkeypatch):
    root, url = server
    publish(root, contents)
    (tmp_path / "occupied").write_text("")
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "occupied")
    with pytest.raises(SpecError, match="cannot be stored"):
        load(mirrors=[url])


def test_fashion_mnist_is_not_mnist_under_another_name(folder, contents):
    digests = {f"md5:{hashlib.md5(contents[name]).hexdigest()}": "MNIST" for name in NAMES}
    settings = {"title": "Fashion-MNIST", "counts": SMALL, "classes": fashion_mnist.CLASSES, "licence": "", "source": ""}
    files = data_files([], packed_digests=fashion_mnist.PACKED_DIGESTS)
    data = load_images(name="mnist", files=files, data_dir=folder, progress=None, **settings)
    assert not data.info["verified"]
    files = data_files([], packed_digests=fashion_mnist.PACKED_DIGESTS, foreign=digests)
    with pytest.raises(SpecError, match="this is a file of MNIST"):
        load_images(name="mnist", files=files, data_dir=folder, progress=None, **settings)


# --- the real files ------------------------------------------------------------------------------------------------

REAL = os.environ.get("SPIKEPORT_DATA")


@pytest.mark.skipif(not REAL or not os.path.isdir(os.path.join(REAL, "mnist")), reason="SPIKEPORT_DATA has no mnist")
def test_real_mnist():
    data = load_dataset("mnist", data_dir=REAL)
    assert data.x_train.shape == (60000, 784) and data.x_test.shape == (10000, 784)
    assert np.bincount(data.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.isclose(data.x_train.mean(), 0.1306604762738429, atol=1e-6)
    assert data.info["verified"] and COUNTS == (60000, 60000, 10000, 10000)
