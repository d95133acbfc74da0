"""Chip files: every shipped figure has unit, source, operating point and trust; wrong files are refused with every problem."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro.chip import TRUST, Chip, Figure, list_chips, load_chip
from neuro.chipfile import UNITS, parse
from neuro.errors import SpecError

MINIMAL = """
title = "A chip"
kind = "neuromorphic"
[limits]
cores_per_chip = { value = 4, unit = "1", source = "s", at = "unstated", trust = "primary" }
"""


def entry(**changes):
    fields = {"value": 2.5, "unit": '"pJ"', "source": '"a paper"', "at": '"1 V"', "trust": '"quoted"', **changes}
    return "{ " + ", ".join(f"{k} = {v}" for k, v in fields.items() if v is not None) + " }"


def problems_of(text):
    with pytest.raises(SpecError) as caught:
        parse("mine", text, "mine.toml")
    return str(caught.value)


def test_all_promised_chips_ship():
    assert set(list_chips()) >= {
        *("loihi1", "loihi1_sanafe", "truenorth", "spinnaker1", "spinnaker2", "odin"),
        *("speck_dynapcnn", "xylo_audio2", "cmos_45nm", "cmos_7nm"),
    }


@pytest.mark.parametrize("name", list_chips())
def test_every_shipped_figure_has_provenance(name):
    chip = load_chip(name)
    figures = dict(chip.figures())
    assert figures
    for where, figure in figures.items():
        assert figure.source and figure.at and figure.trust in TRUST, where
        assert "recalled" not in figure.source + figure.note, where
        if isinstance(figure, Figure):
            assert figure.low <= figure.value <= figure.high, where
            assert figure.unit in ("J", "s", "W", "V", "m", "Hz", "bit", "1"), where
            assert not figure.bounded or figure.note, where
    assert chip.title and chip.sha256 and chip.texts


def test_loihi1_figures_in_si():
    chip = load_chip("loihi1")
    assert chip.energy.synaptic_operation.value == pytest.approx(23.6e-12, rel=1e-12)
    assert (chip.energy.neuron_update_active.value, chip.energy.neuron_update_inactive.value) == pytest.approx((81e-12, 52e-12))
    assert chip.time.synaptic_operation.value == pytest.approx(3.5e-9)
    assert [(b.size, round(b.time.value * 1e9)) for b in chip.time.barrier] == [(1, 113), (32, 465)]
    # Published as a minimum and a maximum: the totals they enter must carry a range.
    assert chip.energy.synaptic_operation.low == chip.energy.synaptic_operation.value < chip.energy.synaptic_operation.high
    assert chip.time.synaptic_operation.low < chip.time.synaptic_operation.value < chip.time.synaptic_operation.high
    idle = chip.power.static_chip
    assert (idle.low, idle.value, idle.high) == pytest.approx((29.7e-3, 96.3e-3, 104.4e-3))
    assert (chip.limits.cores_per_chip.value, chip.limits.neurons_per_core.value) == (128, 1024)
    assert chip.limits.mesh_width.value * chip.limits.mesh_height.value * chip.limits.cores_per_tile.value == 128


def test_missing_figures_are_missing_not_zero():
    chip = load_chip("loihi1")
    assert chip.energy.barrier is None and chip.energy.host_step is None and chip.energy.bias_write is None
    assert "barrier" in chip.missing("energy") and "synaptic_operation" not in chip.missing("energy")
    assert load_chip("speck_dynapcnn").energy.synaptic_operation is None
    assert load_chip("truenorth").energy.neuron_update is None
    for name in list_chips():
        zero = [where for where, f in load_chip(name).figures() if isinstance(f, Figure) and f.unit in "JWs" and f.value == 0]
        assert not zero


def test_inherited_groups_are_those_of_the_parent_and_energy_is_not():
    parent, child = load_chip("loihi1"), load_chip("loihi1_sanafe")
    assert child.limits == parent.limits and child.arithmetic == parent.arithmetic and child.power == parent.power
    assert child.energy.synaptic_operation.value == pytest.approx(35.5e-12)
    assert child.energy.neuron_update_active is None  # would be the parent's
    assert set(child.texts) == {"loihi1", "loihi1_sanafe"}
    assert child.sha256 != parent.sha256


def test_aggregate_figures_stand_apart_from_marginal_ones():
    for name, aggregate in (("truenorth", 26e-12), ("odin", 12.7e-12), ("spinnaker1", 20e-9)):
        energy = load_chip(name).energy
        assert energy.aggregate_synaptic_event.value == pytest.approx(aggregate)
        assert energy.synaptic_operation.value < aggregate
    # The line through the two published points of TrueNorth, hardware arithmetic.
    events = 1_048_576 * 128
    marginal = (94e-3 - 68e-3) / (events * (95.93 - 11.58))
    truenorth = load_chip("truenorth")
    assert truenorth.energy.synaptic_operation.value == pytest.approx(marginal, rel=5e-3)
    assert truenorth.power.static_chip.value == pytest.approx(68e-3 - marginal * events * 11.58, rel=2e-3)


def test_conventional_designs():
    chip = load_chip("cmos_45nm")
    assert chip.kind == "conventional"
    assert chip.operations.mul_fp32.value + chip.operations.add_fp32.value == pytest.approx(4.6e-12)
    assert chip.operations.mul_int8.value + chip.operations.add_int32.value == pytest.approx(0.3e-12)
    assert chip.memory.dram.value / chip.memory.access.value * 8 == pytest.approx(162.5e-12)
    assert load_chip("cmos_7nm").memory.hbm2.low == pytest.approx(250e-12)
    assert chip.operations.add_bf16 is None


def test_a_users_own_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    chip = load_chip(path)
    assert isinstance(chip, Chip) and chip.name == "mine" and chip.limits.cores_per_chip.value == 4
    assert load_chip(str(path)) == chip


def test_a_users_file_may_inherit_from_a_shipped_chip(tmp_path):
    path = tmp_path / "bigger.toml"
    text = MINIMAL.replace("[limits]", 'inherits = { chip = "loihi1", groups = ["limits", "energy"] }\n[limits]')
    path.write_text(text)
    chip = load_chip(path)
    assert chip.limits.cores_per_chip.value == 4  # stated here
    assert chip.limits.in_axons_per_core == load_chip("loihi1").limits.in_axons_per_core  # inherited
    assert chip.energy == load_chip("loihi1").energy
    assert chip.arithmetic.weight_bits is None


def test_unknown_chip_names_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'loihi1'"):
        load_chip("lohi1")
    with pytest.raises(SpecError, match=r"nowhere/chip\.toml.*cannot be read"):
        load_chip("nowhere/chip.toml")


@pytest.mark.parametrize("missing", ["value", "unit", "source", "at", "trust"])
def test_a_figure_that_lacks_something_does_not_load(missing):
    text = MINIMAL + f"[energy]\nspike_out = {entry(**{missing: None})}\n"
    assert f"energy.spike_out: {missing} is missing" in problems_of(text)


@pytest.mark.parametrize(
    ("group", "name", "change", "message"),
    [
        ("energy", "spike_out", {"unit": '"pj"'}, "unknown unit 'pj'; did you mean 'pJ'"),
        ("energy", "spike_out", {"unit": '"ns"'}, "measures [s]; expected one of fJ, pJ, nJ, uJ, mJ, J"),
        ("energy", "spike_out", {"value": -1}, "-1 pJ is negative, expected zero or more"),
        ("energy", "spike_out", {"value": -1, "low": 1, "high": 2, "note": '"n"'}, "-1 pJ is negative"),
        ("limits", "neurons_per_core", {"value": 255.5, "unit": '"1"'}, "255.5 (a count), expected a whole number"),
        ("arithmetic", "weight_bits", {"value": 4.5, "unit": '"bit"'}, "4.5 bit, expected a whole number"),
        ("energy", "spike_out", {"value": "nan"}, "not a finite number"),
        ("energy", "spike_out", {"value": '"2"'}, "not a finite number"),
        ("energy", "spike_out", {"value": "true"}, "not a finite number"),
        ("energy", "spike_out", {"source": '" "'}, "source is empty"),
        ("energy", "spike_out", {"at": '""'}, 'or at = "unstated"'),
        ("energy", "spike_out", {"trust": '"recalled"'}, "expected one of primary, quoted, derived"),
        ("energy", "spike_out", {"low": 3}, "does not hold"),
        ("energy", "spike_out", {"low": 2}, "need a note"),
        ("energy", "spike_out", {"typo": 1}, "unknown key 'typo'"),
        ("energy", "spike_ot", {}, "unknown figure; did you mean 'spike_out'"),
        ("limits", "chips_max", {"value": 0, "unit": '"1"'}, "expected more than zero"),
        ("limits", "layer_per_core", {"value": 1, "unit": '"-"'}, "expected true or false"),
        ("arithmetic", "potential_bits", {"value": 0, "unit": '"bit"'}, "expected more than zero"),
        ("arithmetic", "overflow", {"value": '"explode"', "unit": '"-"'}, "expected 'saturate' or 'wrap'"),
        ("arithmetic", "resets", {"value": '"zero"', "unit": '"-"'}, "expected a list"),
        ("arithmetic", "comparison", {"value": '">"', "unit": '"1"'}, "a statement, not a measure"),
        ("time", "tick", {"unit": '"pJ"'}, "measures [J]; expected one of fs, ps, ns, us, ms, s"),
    ],
)
def test_wrong_figures_are_named(group, name, change, message):
    text = (MINIMAL if group != "limits" else MINIMAL.replace("[limits]", "")) + f"[{group}]\n{name} = {entry(**change)}\n"
    if group == "limits":
        text = f'title = "A chip"\nkind = "neuromorphic"\n[limits]\n{name} = {entry(**change)}\n'
    report = problems_of(text)
    assert f"{group}.{name}" in report and message in report


@pytest.mark.parametrize(
    ("group", "figures", "message"),
    [
        ("arithmetic", {"weight_min": 9, "weight_max": 7}, "arithmetic.weight_min: 9 is above arithmetic.weight_max, 7"),
        ("arithmetic", {"weight_min": -7}, "arithmetic.weight_max: missing; weight_min means nothing without it"),
        ("limits", {"delay_min": 9, "delay_max": 8}, "limits.delay_min: 9 is above limits.delay_max, 8"),
        ("limits", {"mesh_width": 2}, "limits.mesh_height: missing; mesh_width means nothing without it"),
        ("limits", {"cores_per_chip": 8, "mesh_width": 2, "mesh_height": 2}, "limits.cores_per_chip: 8, but the mesh has room for 4"),
        ("limits", {"cores_per_chip": 3, "weight_words_by_core": [8, 8]}, "limits.weight_words_by_core: 2 cores, but cores_per_chip is 3"),
    ],
)
def test_figures_that_contradict_each_other_do_not_load(group, figures, message):
    stated = {name: entry(value=repr(value), unit='"-"' if isinstance(value, list) else '"1"') for name, value in figures.items()}
    text = 'title = "A chip"\nkind = "neuromorphic"\n' + f"[{group}]\n" + "\n".join(f"{name} = {said}" for name, said in stated.items())
    assert message in problems_of(text)


def test_all_problems_are_listed_at_once():
    text = f"""
    kind = "quantum"
    colour = "blue"
    [energy]
    spike_out = {entry(unit='"furlong"')}
    barrier = 12
    [time]
    barrier = [{{ value = 1.0, unit = "us", source = "s", at = "a", trust = "primary" }}]
    """
    report = problems_of(text)
    for part in ("title: missing", "kind: found 'quantum'", "colour: unknown key", "furlong", "energy.barrier: expected {", "size None"):
        assert part in report
    assert "6 problems" in report and "No chip was loaded" in report


def test_text_that_is_not_toml():
    assert "not readable as TOML" in problems_of("title = ")


@pytest.mark.parametrize("bad", ['inherits = "loihi1"', 'inherits = { chip = "loihi1" }'])
def test_wrong_inheritance(tmp_path, bad):
    path = tmp_path / "a.toml"
    path.write_text(f'{bad}\ntitle = "x"\nkind = "neuromorphic"\n')
    with pytest.raises(SpecError, match="inherits"):
        load_chip(path)


@given(value=st.floats(1e-3, 1e6), unit=st.sampled_from([u for u, (_, si) in UNITS.items() if si == "J"]))
def test_units_convert_to_joules(value, unit):
    text = MINIMAL + f"[energy]\nspike_out = {entry(value=repr(value), unit=repr(unit).replace(chr(39), chr(34)))}\n"
    stated = parse("mine", text, "mine.toml")["energy"].spike_out
    factor = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "J": 1.0}[unit[0]]
    assert stated.value == pytest.approx(value * factor, rel=1e-12) and stated.unit == "J"


def test_shipped_files_carry_no_comment_in_place_of_a_source():
    for name in list_chips():
        table = tomllib.loads((resources.files("neuro") / "chips" / f"{name}.toml").read_text())
        for group, values in table.items():
            if isinstance(values, dict) and group != "inherits":
                for key, item in values.items():
                    for one in item if isinstance(item, list) else [item]:
                        if isinstance(one, dict):
                            assert len(one["source"]) > 10, (name, group, key)
