"""TOML -> Experiment -> trials: grids, names, presets, overrides, and every mistake at once."""

import itertools
import subprocess
import sys
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import CONFIGS, Trial, load_experiment, parse, to_toml
from experiments.plan import contradictions, plan, resolved
from neuro.errors import SpecError


def trials(text, **kwargs):
    return parse(text, **kwargs).trials


def test_an_empty_config_is_the_demo_with_every_default_written_in():
    found = trials("")
    assert [t.group for t in found] == ["ann", "ideal", "chip", "native"]
    plain = found[2].plain
    whole = {"holdout": 0.0, "part": "test"}
    assert plain["data"] == {"name": "digits", "split_seed": 0, "limit": 0, "options": {}, "sha256": "", **whole}
    assert plain["convert"]["method"] == "ltb" and plain["convert"]["options"]["iterations"] == 50
    assert plain["run"]["n_steps"] == 8 and plain["deploy"]["options"]["reset"] == "construction"
    assert plain["train"]["learning_rate"] == 0.001 and "seed" not in plain["train"]
    assert found[0].convert is None and found[1].deploy is None


def test_lists_become_a_grid():
    found = trials("seeds=[0,1]\n[run]\nn_steps=[1,2,4]\nencoding=['constant','regular']\n[deploy]\nreset='native'")
    ann = [t for t in found if t.group == "ann"]
    assert len(ann) == 2 and len(found) == 2 + 2 * 3 * 2 * 2
    seen = {(t.seed, t.run.n_steps, t.run.encoding, t.group) for t in found if t.run}
    assert seen == set(itertools.product((0, 1), (1, 2, 4), ("constant", "regular"), ("ideal", "native")))


def test_a_setting_that_is_a_list_varies_as_a_list_of_lists():
    assert {t.model.hidden for t in trials("[model]\nhidden=[64,32]")} == {(64, 32)}
    assert {t.model.hidden for t in trials("[model]\nhidden=[[64,32],[16],[]]")} == {(64, 32), (16,), ()}


def test_no_chip_is_an_empty_list():
    assert [t.group for t in trials("[deploy]\nchip=[]")] == ["ann", "ideal"]


def test_settings_of_methods_stand_flat_or_in_a_table_of_their_name():
    flat = trials("[convert]\nmethod='percentile_norm'\npercentile=[99.0,99.9]\n[deploy]\nchip=[]")
    assert [t.settings["convert.percentile"] for t in flat if t.convert] == [99.0, 99.9]
    text = "[convert]\nmethod=['ltb','percentile_norm']\n[convert.percentile_norm]\npercentile=[98,99]\n[deploy]\nchip=[]"
    found = [t.convert for t in trials(text) if t.convert]
    assert [(c.method, c.options.get("percentile")) for c in found] == [
        ("ltb", None),
        ("percentile_norm", 98.0),
        ("percentile_norm", 99.0),
    ]


def test_a_step_of_a_chain_may_carry_its_own_settings():
    text = "[convert]\nmethod=[['ltb',{name='calibration',rounds=3}],[{name='ltb',iterations=20},'calibration'],{name='ltb',iterations=9}]\n"
    e = parse(text + "[deploy]\nchip=[]")
    found = [c for t in e.trials if (c := t.convert)]
    assert [c.method for c in found] == ["ltb+calibration", "ltb+calibration", "ltb"]
    assert [c.options["calibration"]["rounds"] for c in found[:2]] == [3, 1]
    assert [c.options["ltb"]["iterations"] for c in found[:2]] == [50, 20] and found[2].options["iterations"] == 9
    assert [t.key for t in parse(e.text).trials] == [t.key for t in e.trials]
    told = next(t.settings for t in e.trials if t.convert)
    assert told["convert.calibration"] == found[0].calibration and told["convert.calibration.rounds"] == 3
    with pytest.raises(SpecError, match="a table with the key 'name'"):
        parse("[convert]\nmethod=[['ltb',{rounds=3}]]")


def test_a_chain_is_a_list_in_the_list_of_methods():
    text = "[convert]\nmethod=['ltb',['percentile_norm','threshold_shift']]\n[convert.percentile_norm]\npercentile=99\n"
    chain = [t for t in trials(text) if t.convert and "+" in t.convert.method][0]
    assert [s["name"] for s in chain.steps] == ["percentile_norm", "threshold_shift"]
    assert chain.steps[0]["percentile"] == 99.0
    assert chain.settings["convert.percentile_norm.percentile"] == 99.0


def test_presets_and_set_are_applied_in_this_order():
    text = "seeds=[0,1]\n[run]\nn_steps=4\nencoding='regular'\n[presets.one]\nseeds=[5]\n[presets.one.run]\nn_steps=16"
    e = parse(text, preset="one", overrides=["run.n_steps=[2,3]", "deploy.chip=truenorth"])
    assert e.seeds == (5,) and [r.n_steps for r in e.run] == [2, 3]
    assert {r.encoding for r in e.run} == {"regular"} and {d.chip for d in e.deploy} == {"truenorth"}
    again = parse(e.text)
    assert [t.key for t in again.trials] == [t.key for t in e.trials]


def test_every_mistake_is_named_at_once_with_the_nearest_known_name():
    text = """
seed = [0]
seeds = [-1]
[dat]
[data]
name = "digit"
[train]
learning_rat = 0.1
epochs = "many"
seed = 3
[convert]
method = ["ltbb", "ltb"]
iteration = 3
[run]
n_step = 3
n_steps = [0, 4]
[deploy]
rset = "native"
"""
    with pytest.raises(SpecError) as caught:
        parse(text, name="mine.toml")
    message = str(caught.value)
    for part in (
        "mine.toml cannot be used",
        "'seed' is not a table or key of a config; did you mean 'seeds'?",
        "'dat' is not a table or key of a config; did you mean 'data'?",
        "seeds: [-1]",
        "data.name: 'digit' is not known; did you mean 'digits'?",
        "train.learning_rat is not a setting; did you mean 'learning_rate'?",
        "train.epochs: 'many'",
        "train.seed: use the top-level key seeds",
        "convert.method: 'ltbb' is not known; did you mean 'ltb'?",
        "convert.iteration is not a setting; did you mean 'iterations'?",
        "run.n_step is not a setting; did you mean 'n_steps'?",
        "run.n_steps: 0",
        "deploy.rset is not a setting; did you mean 'reset'?",
        "Nothing was run.",
    ):
        assert part in message, part


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run = 3", "run: 3, expected a table"),
        ("[run]\nn_steps=[]", "run.n_steps: []"),
        ("[run]\nn_steps=true", "run.n_steps: True"),
        ("[deploy]\nreset='nativ'", "did you mean 'native'"),
        ("[train]\nlearning_rate=-1.0", "learning_rate is -1.0"),
        ("preset='x'", "preset 'x' is not known"),
        ("[convert]\nmethod=['ltb',['ltb','threshold_shift']]\niterations=3", "of which step"),
        ("[convert]\n[convert.max_norm]\nper_neuron=true", "[convert.max_norm]: no such method here"),
        ("[model]\nfile='a.npz'\n[train]\nepochs=3", "[train] has no effect"),
        ("[model]\nfile='a.npz'\nhidden=[3]", "model.hidden has no effect"),
        ("title=3", "title: 3, expected a text"),
        ("x = = 1", "not TOML"),
    ],
)
def test_single_mistakes(text, said):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("item", ["run.n_steps", "=3", "run..x=3", "title.x=3"])
def test_wrong_overrides(item):
    with pytest.raises(SpecError, match="--set"):
        parse("title='t'", overrides=[item])


def test_files(tmp_path):
    with pytest.raises(SpecError, match="no such config; did you mean 'digits.toml'"):
        load_experiment("digit.toml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_experiment(tmp_path)
    (tmp_path / "mine.toml").write_text("[run]\nn_steps=3")
    e = load_experiment(tmp_path / "mine.toml")
    assert e.title == "mine" and e.folder == tmp_path and e.run[0].n_steps == 3


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.name)
def test_shipped_configs_are_right_and_hold_all_groups(path):
    presets = tomllib.loads(path.read_text()).get("presets", {})
    for preset in ["", *presets]:
        e = load_experiment(path.name, preset=preset)
        assert contradictions(e) == []
        assert len({t.key for t in e.trials}) == len(e.trials)
        assert {t.group for t in e.trials} >= ({"ann", "ideal", "chip", "native"} if e.deploy else {"ann", "ideal"})
        assert parse(e.text).trials == e.trials


def test_a_trial_is_its_plain_values():
    for trial in load_experiment("demo.toml").trials:
        assert Trial.of(trial.plain) == trial and Trial.of(trial.plain).key == trial.key
        assert Trial.of(msgspec.json.decode(msgspec.json.encode(trial.plain))).key == trial.key
    with pytest.raises(msgspec.ValidationError):
        Trial.of({**trial.plain, "more": 1})


def test_keys_are_the_same_in_another_process():
    code = "from experiments.config import load_experiment as l; print(*[t.key for t in l('demo.toml').trials])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [t.key for t in load_experiment("demo.toml").trials]


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUES = st.integers(-(2**60), 2**60) | st.booleans() | st.floats(allow_nan=False) | KEYS
TABLES = st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=3), max_size=4)


@given(st.dictionaries(KEYS, VALUES | TABLES | st.dictionaries(KEYS, TABLES, max_size=2), max_size=4))
def test_toml_is_written_as_it_is_read(raw):
    assert tomllib.loads(to_toml(raw)) == raw


def test_contradictions_are_found_before_any_work_all_at_once(tmp_path):
    text = """
[data]
name = "missing.csv"
[model]
file = "missing.npz"
[run]
n_steps = 4
encoding = "regulr"
readout = "delayd"
engine = "batchd"
exit_threshold = 1.0
exit_min_steps = 9
readout_start = 2
[deploy]
chip = ["loihi", "loihi1"]
"""
    with pytest.raises(SpecError) as caught:
        plan(parse(text, folder=tmp_path))
    message = str(caught.value)
    for part in (
        "missing.csv: no such file; looked for",
        "missing.npz: no such file; looked for",
        "run.encoding: 'regulr' is not known; did you mean 'regular'?",
        "run.readout: 'delayd' is not known; did you mean 'delayed'?",
        "run.engine: 'batchd' is not known; did you mean 'batched'?",
        "run.exit_min_steps 9 is above run.n_steps 4",
        "run.readout_start 2 has no effect",
        "deploy.chip: 'loihi' is not known; did you mean 'loihi1'?",
    ):
        assert part in message, part


def test_a_delayed_readout_must_leave_steps():
    causes = contradictions(parse("[run]\nn_steps=4\nreadout='delayed'\nreadout_start=4"))
    assert causes == ["run.readout_start 4 leaves none of the 4 steps to read"]


def test_a_plan_counts_trials_and_shared_stages():
    p = plan(parse("seeds=[0,1]\n[run]\nn_steps=[2,4,8]\n[convert]\nmethod=['ltb','mmse']"))
    # mmse is made for one T: a conversion for each; ltb serves all.
    assert len(p.trials) == len(p.missing) == 2 * (1 + 2 * 3 * 3)
    assert p.stages == {"model": 2, "network": 2 * (1 + 3), "deployment": 2 * (1 + 3) * 2}
    assert p.seconds > 1 and p.memory > 1e8 and not p.measured


def test_longer_windows_and_more_trials_take_longer():
    short, long = plan(parse("[run]\nn_steps=2")), plan(parse("[run]\nn_steps=64"))
    assert short.seconds < long.seconds < plan(parse("[run]\nn_steps=[64,65]")).seconds


def test_files_are_named_by_content(tmp_path):
    chip = tmp_path / "mine.toml"
    inherits = 'kind = "neuromorphic"\ninherits = {chip = "loihi1", groups = ["limits", "arithmetic", "energy", "time"]}\n'
    chip.write_text(f'title = "mine"\n{inherits}')
    text = "[deploy]\nchip='mine.toml'\nreset='native'"
    first = resolved(parse(text, folder=tmp_path))
    assert len(first.deploy[0].sha256) == 64
    chip.write_text(f'title = "mine too"\n{inherits}')
    second = resolved(parse(text, folder=tmp_path))
    assert first.trials[2].key != second.trials[2].key and first.trials[1].key == second.trials[1].key


def test_names_that_nothing_has_are_told_with_other_mistakes():
    with pytest.raises(SpecError) as caught:
        parse('[run]\nn_steps = [0, 8]\nreadout = "vote"\nencoding = ["constant", "morse"]\n[deploy]\nchip = ["loihi", "loihi1"]\nreset = "hard"')
    message = str(caught.value)
    for part in ("run.n_steps: 0", "run.readout: 'vote'", "run.encoding: 'morse'", "deploy.chip: 'loihi' is not known; did you mean", "deploy.reset: 'hard'"):
        assert message.count(part) == 1, part
