"""Sound, text and time series: features, splits, vocabulary; on made-up files, and on the real ones where present."""

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.io import wavfile

from experiments.datasets import DATASETS, fetch, load_dataset, sms_spam, spoken_digits, timeseries
from experiments.datasets.audio import log_mel, mel_filters
from experiments.datasets.card import data_card
from experiments.datasets.text import BagOfWords, TextOptions, decode, text_dataset, tokens
from neuro.errors import SpecError

# --- sound -----------------------------------------------------------------------------------------------------------


def test_a_tone_is_loudest_in_its_own_band():
    rate = 8000
    for band in (2, 8, 15):
        filters = mel_filters(rate, 256, 20)
        frequency = np.argmax(filters[band]) * rate / 256
        features = log_mel(np.sin(2 * np.pi * frequency * np.arange(4000) / rate), rate)
        assert features.shape == (16, 20) and features.dtype == np.float32
        assert (features.argmax(axis=1) == band).all()
        assert features.max() == 1 and features.min() >= 0


def test_features_do_not_depend_on_loudness_and_silence_is_zero():
    signal = np.random.default_rng(0).normal(size=5000)
    np.testing.assert_allclose(log_mel(signal, 8000), log_mel(1e-3 * signal, 8000), atol=1e-5)
    assert not log_mel(np.zeros(3000), 8000).any()
    assert log_mel(np.ones(50), 8000).shape == (16, 20)


def test_the_features_of_a_changing_sound_follow_it():
    rate, half = 8000, 4000
    time = np.arange(half) / rate
    features = log_mel(np.concatenate([np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 3000 * time)]), rate)
    bands = features.argmax(axis=1)
    assert len(set(bands[:8])) == 1 and len(set(bands[8:])) == 1 and bands[0] < bands[-1]


def test_mel_filters_cover_the_spectrum():
    filters = mel_filters(8000, 256, 20)
    assert filters.shape == (20, 129) and (filters.max(axis=1) > 0.5).all()
    inside = filters.sum(axis=0)[4:110]
    np.testing.assert_allclose(inside, 1, atol=1e-9)


def wav(frequency, n=2000):
    stream = io.BytesIO()
    wavfile.write(stream, 8000, (8000 * np.sin(2 * np.pi * frequency * np.arange(n) / 8000)).astype(np.int16))
    return stream.getvalue()


def tar_of(contents):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Two digits, two speakers, recordings 0 to 6; the module is told their checksum."""
    contents = {
        f"recordings/{digit}_{speaker}_{number}.wav": wav(300 + 700 * digit + number, 1500 + 100 * number)
        for digit in (0, 1)
        for speaker in ("anna", "boris")
        for number in range(7)
    }
    folder = tmp_path / "fsdd"
    folder.mkdir()
    (folder / "recordings.tar.gz").write_bytes(tar_of(contents))
    digest = hashlib.sha256(spoken_digits.fingerprint(tar_of(contents))).hexdigest()
    for name in ("PUBLISHED", "RECORDINGS"):
        monkeypatch.setattr(spoken_digits, name, replace(getattr(spoken_digits, name), digests=(f"sha256:{digest}",), urls=()))
    monkeypatch.delenv("SPIKEPORT_DATA", raising=False)
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path, contents


def test_official_split_of_the_recordings(recordings):
    data = load_dataset("spoken_digits", recordings[0])
    assert data.x_train.shape == (8, 320) and data.x_test.shape == (20, 320)
    assert sorted(set(data.groups_test)) == ["anna", "boris"] and data.seed is None
    assert data.info["verified"]
    sequences = load_dataset("spoken_digits", recordings[0], options={"form": "sequence", "n_frames": 5, "n_bands": 8})
    assert sequences.x_train.shape == (8, 5, 8) and sequences.sequences


def test_split_by_speaker(recordings):
    data = load_dataset("spoken_digits", recordings[0], options={"split": "speaker", "test_speaker": "boris"})
    assert set(data.groups_test) == {"boris"} and set(data.groups_train) == {"anna"}
    with pytest.raises(SpecError, match="did you mean 'boris'"):
        load_dataset("spoken_digits", recordings[0], options={"split": "speaker", "test_speaker": "borys"})


def test_the_checksum_is_of_the_recordings_not_of_the_archive(recordings):
    root, contents = recordings
    backwards = dict(reversed(contents.items()))
    (root / "fsdd" / "recordings.tar.gz").unlink()
    other = {name.replace("recordings/", "set-1.0.10/recordings/"): content for name, content in backwards.items()}
    (root / "fsdd" / "free-spoken-digit-dataset-1.0.10.tar.gz").write_bytes(tar_of(other))
    assert load_dataset("spoken_digits", root).info["verified"]


def test_damaged_recordings_are_named(recordings):
    root, contents = recordings
    path = root / "fsdd" / "recordings.tar.gz"
    changed = {**contents, "recordings/0_anna_0.wav": wav(999)}
    path.write_bytes(tar_of(changed))
    with pytest.raises(SpecError, match="the SHA256 of its content is"):
        load_dataset("spoken_digits", root)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SpecError, match=r"recordings.tar.gz: (truncated|corrupt)"):
        load_dataset("spoken_digits", root)
    path.write_bytes(b"not an archive at all")
    with pytest.raises(SpecError, match="not a readable archive"):
        load_dataset("spoken_digits", root)


def test_spoken_digits_options_are_checked():
    with pytest.raises(SpecError, match="n_frames is 0"):
        load_dataset("spoken_digits", options={"n_frames": 0})
    with pytest.raises(SpecError, match="Invalid enum value 'random'"):
        load_dataset("spoken_digits", options={"split": "random"})


# --- text ------------------------------------------------------------------------------------------------------------


def test_tokens_keep_what_tells_spam():
    assert tokens("Call 08712 NOW!! It’s £5") == ["call", "00000", "now", "!", "!", "it's", "£", "0"]
    assert tokens("  ") == []


def test_fitted_vocabulary_comes_from_training_texts_alone():
    bag = BagOfWords.fit(["a b", "a c", "a b d"], TextOptions(n_features=3))
    assert bag.words == ("a", "b", "c")
    np.testing.assert_array_equal(bag.encode(["b a a zzz", ""]), [[1, 1, 0], [0, 0, 0]])


def test_tfidf_has_unit_length_and_its_closed_form():
    bag = BagOfWords.fit(["a b", "a c", "a"], TextOptions(weighting="tfidf"))
    idf = np.log(4 / np.array([4, 2, 2])) + 1
    expected = np.array([2 * idf[0], idf[1], 0])
    np.testing.assert_allclose(bag.encode(["a b a"])[0], expected / np.linalg.norm(expected), rtol=1e-6)
    assert not bag.encode(["unknown"]).any()


def test_a_bag_of_words_is_made_again_from_its_facts():
    for options in (TextOptions(), TextOptions(weighting="tfidf"), TextOptions(vocabulary="hashed", n_features=7)):
        bag = BagOfWords.fit(["one two", "two three!"], options)
        again = BagOfWords.from_info(json.loads(json.dumps(bag.info)))
        np.testing.assert_array_equal(bag.encode(["one three ! ! four"]), again.encode(["one three ! ! four"]))


def test_hashing_is_the_same_everywhere():
    bag = BagOfWords(10)
    assert np.flatnonzero(bag.encode(["spam"])[0]).tolist() == [0x43DAFF3D % 10]


def make_texts(texts, labels, **settings):
    facts = {"licence": "", "source": "", "info": {}}
    return text_dataset("texts", texts, np.array(labels), ("no", "yes"), TextOptions(**settings), 0, **facts)


def test_equal_texts_stay_on_one_side_of_the_split():
    texts = [f"word{'abcdefghijklmnopqrstuvwxy'[i % 25]} and more" for i in range(100)]
    data = make_texts(texts, [i % 25 % 2 for i in range(100)], test_fraction=0.4)
    assert len(data.x_test) == 40
    assert data_card(data)["duplicates"]["across"] == 0
    unseen = set(tokens(" ".join(texts))) - set(data.info["bag_of_words"]["words"])
    assert len(unseen) == 10


def test_text_options_are_checked():
    with pytest.raises(SpecError) as error:
        TextOptions(n_features=0, vocabulary="hashed", weighting="tfidf", test_fraction=0)
    assert len(str(error.value).splitlines()) == 4
    with pytest.raises(SpecError, match="hold no words"):
        make_texts(["."] * 3 + [","] * 3 + [";", ":"], [0] * 8, test_fraction=0.5)


def test_decoding_old_files():
    assert decode("é –".encode()) == "é –"
    assert decode(b"caf\xe9 \x96") == "café –"


@pytest.fixture
def messages(tmp_path, monkeypatch):
    lines = [f"{'spam' if i % 4 == 0 else 'ham'}\t{'WIN £' if i % 4 == 0 else 'see you'} {'abcdefghij'[i % 10]}x{i}"
             for i in range(40)]  # fmt: skip
    text = "\n".join(lines).encode() + b"\n"
    folder = tmp_path / "sms_spam"
    folder.mkdir()
    monkeypatch.delenv("SPIKEPORT_DATA", raising=False)
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "cache")

    def publish(content):
        (folder / "SMSSpamCollection").write_bytes(content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        monkeypatch.setattr(sms_spam, "TEXT", replace(sms_spam.TEXT, digests=(digest,)))

    publish(text)
    return tmp_path, text, publish


def test_messages_load_from_text_and_from_the_published_archive(messages, monkeypatch):
    root, text, _ = messages
    first = load_dataset("sms_spam", root)
    assert len(first.x_test) == 8 and first.y_test.sum() == 2 and first.classes == ("ham", "spam")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme", "about")
        archive.writestr("SMSSpamCollection", text)
    (root / "sms_spam" / "SMSSpamCollection").unlink()
    (root / "sms_spam" / "smsspamcollection.zip").write_bytes(stream.getvalue())
    digest = f"sha256:{hashlib.sha256(stream.getvalue()).hexdigest()}"
    monkeypatch.setattr(sms_spam, "PUBLISHED", replace(sms_spam.PUBLISHED, digests=(digest,)))
    second = load_dataset("sms_spam", root)
    np.testing.assert_array_equal(first.x_train, second.x_train)


def test_a_line_that_is_no_message_is_named(messages):
    root, text, publish = messages
    publish(text + b"eggs\tand ham\n")
    with pytest.raises(SpecError, match="line 41: expected 'ham' or 'spam'"):
        load_dataset("sms_spam", root)


def test_another_edition_is_refused(messages):
    root, text, _ = messages
    (root / "sms_spam" / "SMSSpamCollection").write_bytes(text + b"ham\tone more\n")
    with pytest.raises(SpecError, match="not the published file"):
        load_dataset("sms_spam", root)


# --- series ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path, monkeypatch):
    values = [10 + 5 * np.sin(i) + i / 10 for i in range(100)]
    text = '"Month","Sunspots"\n' + "\n".join(f'"1900-{i:02}",{v:.3f}' for i, v in enumerate(values)) + "\n"
    folder = tmp_path / "timeseries"
    folder.mkdir()
    (folder / "monthly-sunspots.csv").write_text(text)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    monkeypatch.setattr(timeseries, "SUNSPOTS", replace(timeseries.SUNSPOTS, digests=(digest,)))
    monkeypatch.delenv("SPIKEPORT_DATA", raising=False)
    return tmp_path, np.round(values, 3).astype(np.float32)


def test_windows_predict_the_value_after_them_and_time_divides_the_parts(series):
    root, values = series
    data = load_dataset("sunspots", root, options={"n_seq": 6, "test_fraction": 0.2})
    assert data.task == "regression" and data.x_train.shape == (74, 6, 1) and data.y_test.shape == (20, 1)
    np.testing.assert_array_equal(data.y_test[:, 0], values[80:])
    np.testing.assert_array_equal(data.y_train[:, 0], values[6:80])
    np.testing.assert_allclose(data.x_test[0, :, 0] * values[:80].max(), values[74:80], rtol=1e-6)
    assert data.x_train.max() <= 1 and "1900-80" in data.split
    vector = load_dataset("sunspots", root, options={"n_seq": 6, "test_fraction": 0.2, "form": "vector"})
    np.testing.assert_array_equal(vector.x_train, data.x_train[:, :, 0])


def test_a_window_longer_than_the_series_is_an_error(series):
    with pytest.raises(SpecError, match="leave no training or no test windows of 100 values"):
        load_dataset("sunspots", series[0], options={"n_seq": 90})
    with pytest.raises(SpecError, match="n_seq is 0"):
        load_dataset("sunspots", series[0], options={"n_seq": 0})


# --- the card --------------------------------------------------------------------------------------------------------


def test_card_of_the_digits_is_plain_values():
    data = load_dataset("digits")
    card = data_card(data)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert sum(row["train"] for row in card["classes"]) == card["n_train"] == 1347
    assert np.isclose(sum(row["share_test"] for row in card["classes"]), 1)
    assert card["inputs"]["stated_range"] == card["inputs"]["train_range"] == [0, 1]
    assert card["inputs"]["constant"] == int((data.x_train.std(axis=0) == 0).sum()) > 0
    assert card["duplicates"] == {"train": 0, "test": 0, "across": 0, "conflicting": 0}
    assert [int(data.y_test[i]) for i in card["examples"]] == np.repeat(range(10), 2).tolist()
    assert card["groups"] is None and card["targets"] == [] and card["verified"]


def test_card_counts_duplicates_conflicts_groups_and_strays(tmp_path):
    x = np.array([[0, 0], [0, 0], [1, 1], [1, 2], [3, 1]], np.float32)
    test = np.array([[-0.0, 0], [1, 1], [1, 1], [9, 9]], np.float32)
    np.savez(
        tmp_path / "mine.npz", x=x, y=[0, 0, 1, 1, 1], x_test=test, y_test=[0, 0, 1, 1],
        groups=list("aabbb"), groups_test=list("acca"),
    )  # fmt: skip
    card = data_card(load_dataset(tmp_path / "mine.npz"))
    assert card["duplicates"] == {"train": 1, "test": 1, "across": 3, "conflicting": 1}
    assert card["inputs"]["outside"] == 1 and card["inputs"]["test_range"] == [0, 9]
    assert card["groups"] == {"name": "group", "train": {"a": 2, "b": 3}, "test": {"a": 2, "c": 2}, "shared": ["a"]}
    assert card["majority_share"] == 0.5


def test_card_of_a_regression(series):
    card = data_card(load_dataset("sunspots", series[0]))
    assert card["classes"] == [] and card["majority_share"] is None and len(card["targets"]) == 1
    assert len(card["examples"]) == 8 and json.dumps(card, allow_nan=False)


# --- the real files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "shapes"),
    [
        ("sms_spam", {}, ((4431, 2000), (1118, 2000))),
        ("sentence_polarity", {"vocabulary": "hashed", "n_features": 500}, ((8530, 500), (2132, 500))),
        ("spoken_digits", {}, ((2700, 320), (300, 320))),
        ("spoken_digits", {"split": "speaker", "form": "sequence"}, ((2500, 16, 20), (500, 16, 20))),
        ("indoor_movement", {}, ((236, 30, 4), (78, 30, 4))),
        ("indoor_movement", {"split": "environment", "n_seq": 19, "form": "vector"}, ((210, 76), (104, 76))),
        ("sunspots", {}, ((2103, 12, 1), (705, 12, 1))),
        ("temperatures", {"form": "vector"}, ((2726, 12), (912, 12))),
    ],
)
def test_real_data(data_dir: Path, name, options, shapes):
    folder = data_dir / (DATASETS[name].folder or name)
    if not folder.is_dir():
        pytest.skip(f"SPIKEPORT_DATA has no {folder.name}")
    data = load_dataset(name, data_dir, options=options)
    assert (data.x_train.shape, data.x_test.shape) == shapes
    assert data.x_train.min() == 0 and data.x_train.max() <= 1
    assert data.info["verified"] and data.licence and data.split and data.source
    card = data_card(data)
    json.dumps(card, allow_nan=False)
    assert msgspec.json.encode(dict(data.info))
    if data.task == "classification":
        assert card["majority_share"] < 0.9
        shared = card["groups"]["shared"] if card["groups"] else []
        assert not shared or options.get("split", "official") in ("official", "random")


def test_the_card_of_the_report_says_what_the_data_hold():
    from experiments.measure import data_card as of_report

    data = load_dataset("digits")
    facts, shown = data_card(data), of_report(data)
    assert shown.duplicates == facts["duplicates"]["across"] and shown.class_counts["test"].sum() == 450
    assert shown.extra["inputs that never change"] == facts["inputs"]["constant"]
    assert shown.extra["right by always saying the most frequent class"] == f"{100 * facts['majority_share']:.1f} %"
