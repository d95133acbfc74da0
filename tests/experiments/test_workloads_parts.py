"""What single workloads compute by themselves: metrics, games, words, sound, the index."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.workloads import games, index, measures, spam, weights
from experiments.workloads.carry import Carried
from experiments.workloads.sound import griffin_lim


def test_area_under_curve_is_the_share_of_ordered_pairs():
    labels = np.array([0, 1, 0, 1, 1])
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.05])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    assert measures.area_under_curve(labels, scores) == pytest.approx(np.mean(pairs))


def test_precision_recall_f1():
    labels, answers = np.array([1, 1, 1, 0, 0]), np.array([1, 0, 1, 1, 0])
    assert measures.precision(labels, answers) == pytest.approx(2 / 3)
    assert measures.recall(labels, answers) == pytest.approx(2 / 3)
    assert measures.f1(labels, answers) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("a", "b", "d"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("ab", "ba", 2)])
def test_edit_distance(a, b, d):
    assert measures.edit_distance(list(a), list(b)) == measures.edit_distance(list(b), list(a)) == d


def test_naive_bayes_by_hand():
    x, y = np.array([[1, 0], [1, 1], [0, 1]], float), np.array([0, 0, 1])
    scores = spam.naive_bayes(x, y, np.array([[1.0, 0.0]]))
    assert scores[0] == pytest.approx([np.log(2 / 3) + np.log(3 / 5), np.log(1 / 3) + np.log(1 / 3)])


def test_interval_of_a_metric_is_repeatable_and_holds_the_value():
    facts = np.abs(np.random.default_rng(1).standard_normal((200, 1)))
    metric = measures.Metric("rms", measures.root_mean, better="lower")
    first, second = measures.interval(metric, facts), measures.interval(metric, facts)
    assert first == second and first.low < first.value < first.high
    assert measures.difference(metric, facts, facts).value == 0


# -- games ------------------------------------------------------------------------------------------


def test_perfect_play_is_a_draw_and_takes_a_win():
    assert games.value((0,) * 9) == 0
    assert games.best_moves((1, 1, 0, -1, -1, 0, 0, 0, 0)) == [2]
    assert games.best_moves((1, 0, 0, -1, -1, 0, 0, 0, 1)) == [5]


def test_there_are_4520_boards_with_a_move():
    assert len(games.positions()) == 4520


def test_perfect_play_never_loses():
    def respond(x):
        boards = [tuple(int(v) for v in row[:9] - row[9:]) for row in x]
        return np.array([[k in games.best_moves(b) for k in range(9)] for b in boards], float)

    facts = games.matches(respond, games=60)
    assert facts[:, 0].all()
    assert np.array_equal(facts, games.matches(respond, games=60))


def test_carried_potentials_average_out(digits_network):
    from neuro import simulate

    network, x = digits_network
    plain = Carried(network, 4, keep=False)
    np.testing.assert_allclose(plain(x), simulate(network, x, 4).outputs, rtol=1e-9, atol=1e-9)
    # Twelve decisions of four steps on the same input, potentials kept, are one window of 48 steps.
    kept = Carried(network, 4, keep=True)
    answers = np.mean([kept(x) for _ in range(12)], axis=0)
    np.testing.assert_allclose(answers, simulate(network, x, 48).outputs, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def digits_network():
    from converters.convert import convert
    from experiments.datasets import load_dataset
    from experiments.workloads import weights

    data = load_dataset("digits")
    return convert(weights.shipped("ocr-digits"), calibration=data.x_train[:200]), data.x_test[:20]


def test_the_tuned_controller_balances():
    pytest.importorskip("gymnasium")
    assert games.balance(games.controller, episodes=8).min() == games.LONGEST
    assert games.balance(lambda o: np.zeros(len(o), np.int64), episodes=8).max() < 60


# -- translation ------------------------------------------------------------------------------------


def test_words_of_numbers():
    pytest.importorskip("num2words")
    from num2words import num2words

    from experiments.workloads import translation

    assert translation.english(345) == ["three", "hundred", "and", "forty", "five"]
    assert translation.german(345) == ["drei", "hundert", "fünf", "und", "vierzig"]
    for number in range(translation.TOP):
        parts = translation.german(number)
        assert "".join(parts) == num2words(number, lang="de")
        assert len(parts) < translation.MOST_TARGET and len(translation.english(number)) <= translation.MOST_SOURCE


def test_decoding_says_what_the_network_says():
    from experiments.workloads.translation import END, Coder

    coder = Coder(["two", "three"], [END, "zwei", "drei"])

    def respond(x):
        # Answers "zwei" for a sequence whose last word is <go>, and the end after it.
        return np.eye(3)[np.where(x[:, -1, coder.at["out", "<go>"]] > 0, 1, 0)]

    assert coder.decode(respond, [["two"], ["three"]]) == [["zwei"], ["zwei"]]


def test_encoder_and_decoder_have_weights_of_their_own():
    from experiments.workloads import translation as tr

    trained, start = weights.shipped("translation"), tr.encoder_decoder(30, 62, 32)
    for mlp in (start, trained):
        hidden, out = mlp.layers
        e, d = slice(tr.ENCODER), slice(tr.ENCODER, tr.ENCODER + tr.DECODER)
        weight, back = np.asarray(hidden.weight), np.asarray(hidden.recurrent)
        assert not weight[e, 30:].any() and not weight[d, :30].any()
        assert not back[e, d].any() and not np.asarray(out.weight)[:, e].any()
        assert back[d, e].all() and back[d, d].all()
    assert trained.layers[0].ceiling < 100


def test_states_learned_in_noise_need_few_levels():
    from converters.convert import convert
    from converters.train import TrainOptions, train
    from experiments.workloads.limits import limited
    from experiments.workloads.noisy import in_noise

    x = np.random.default_rng(1).normal(0, 1, (600, 10, 1)).astype(np.float32)
    y = (x.sum(axis=(1, 2)) > 0).astype(int)
    options = TrainOptions(epochs=30, patience=0, validation=0.0, learning_rate=3e-3, clip_norm=1.0, levels=8)
    exact = train((1, 20, 2), x[:500], y[:500], options)
    robust = in_noise(exact, x[:500], y[:500], options)
    assert robust.layers[0].activation == "relu" and robust.layers[0].ceiling < np.inf

    def kept(mlp):
        network = convert(mlp, calibration=x[:500], method="max_norm")
        return float((limited(mlp, network, 8).predict(x[500:]) == y[500:]).mean())

    assert kept(robust) > 0.85 and kept(robust) > kept(exact)


# -- sound, index -----------------------------------------------------------------------------------


def test_griffin_lim_gives_back_the_spectrum_of_a_tone():
    from experiments.datasets.audio import log_mel

    t = np.arange(4000) / 8000
    tone = np.sin(2 * np.pi * (400 + 800 * t) * t)
    features = log_mel(tone, 8000, n_bands=32, n_frames=24)
    again = log_mel(griffin_lim(features, 8000, 0.5), 8000, n_bands=32, n_frames=24)
    noise = log_mel(np.random.default_rng(0).standard_normal(4000), 8000, n_bands=32, n_frames=24)
    error, other = (60 * np.sqrt(((made - features) ** 2).mean()) for made in (again, noise))
    assert error < 0.4 * other


def test_a_right_first_stage_finds_every_key():
    keys = np.linspace(0, 1, index.KEYS)[:, None]
    rows = (np.arange(0, index.KEYS, 50), np.arange(25, index.KEYS, 200))
    facts = index.lookup(lambda x: x * index.KEYS, keys, rows)
    assert facts[:, 0].max() < 2
    # Everything in one leaf: the error is that of one straight line.
    bent = index.lookup(lambda x: np.zeros((len(x), 1)), keys**2, rows)
    assert bent[:, 0].max() > 1000


def test_comparisons_of_a_binary_search():
    assert [index.comparisons(w) for w in (0, 1, 3, 4, 500_000)] == [1, 2, 3, 4, 20]


def test_resplit_keeps_every_sample_with_its_group():
    from experiments.datasets import load_dataset
    from experiments.workloads.base import resplit

    data = load_dataset("digits")
    n = len(data.x_train) + len(data.x_test)
    names = np.array([f"g{k}" for k in range(n)])
    data = replace(data, groups_train=names[: len(data.x_train)], groups_test=names[len(data.x_train) :])
    out = np.arange(n) % 3 == 0
    split = resplit(data, out, "every third")
    assert split.split == "every third" and split.groups_test.tolist() == names[out].tolist() and split.groups_train.tolist() == names[~out].tolist()
    np.testing.assert_array_equal(split.x_test, np.concatenate([data.x_train, data.x_test])[out])
    np.testing.assert_array_equal(split.y_train, np.concatenate([data.y_train, data.y_test])[~out])


def test_the_index_counts_from_the_middle():
    from experiments.workloads import index

    mlp = index.spread_out(np.linspace(0, 1, 200)[:, None], np.linspace(0, 1, 200)[:, None])
    x = np.linspace(0, 1, 50)[:, None].astype(np.float32)
    made = index.from_start(index.in_positions(mlp).forward)(x)
    np.testing.assert_allclose(made, mlp.forward(x) * index.KEYS, atol=1)
