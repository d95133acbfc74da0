"""Charts: valid, drawable, honest axes, one colour per thing, colours with a counterpart in the dark."""

from __future__ import annotations

import json
import re
from typing import Any

import altair as alt
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from samples import comparisons

from experiments import charts
from experiments.comparison import Comparison
from experiments.report.panels import Panel, panels


@pytest.fixture(scope="module")
def small() -> Comparison:
    return comparisons.small()


@pytest.fixture(scope="module")
def drawn(small: Comparison) -> list[Panel]:
    return panels(small)


@pytest.fixture(scope="module")
def swept() -> list[Panel]:
    return panels(comparisons.sweep(60))


def encodings(spec: dict[str, Any], channel: str) -> list[dict[str, Any]]:
    return [layer["encoding"][channel] for layer in spec["layer"] if channel in layer.get("encoding", {})]


def strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(strings, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(strings, value)) if value else set()
    return {value} if isinstance(value, str) else set()


EXPECTED = (
    ["accuracy-steps", "accuracy-energy", "accuracy-operations"]
    + ["energy-components", "energy-platforms", "break-even", "latency"]
    + ["spikes-layers", "operations-layers", "spikes-steps", "error-decomposition", "rates-hidden1", "rates-hidden2"]
    + ["thresholds-hidden1", "thresholds-hidden2", "raster-3", "potentials-hidden1", "potentials-hidden2", "potentials-output"]
    + ["per-class", "confusion-ann", "confusion-snn", "agreement", "floor-plan", "resources", "balance-segments"]
)


def test_every_panel_of_a_full_comparison_is_there(drawn: list[Panel]) -> None:
    assert [panel.name for panel in drawn] == EXPECTED


@pytest.mark.parametrize("which", ["drawn", "swept"])
def test_charts_are_valid_and_can_be_drawn(which: str, request: pytest.FixtureRequest) -> None:
    for panel in request.getfixturevalue(which):
        alt.LayerChart.from_dict(panel.spec)
        svg = vl_convert.vegalite_to_svg(charts.static(panel.spec))
        assert svg.startswith("<svg"), panel.name
        # A chart without marks would still be an image: at least one mark of the data is drawn.
        assert re.search(r'class="mark-(symbol|rect|line|rule|text|area)', svg), panel.name


def test_data_are_plain_json_without_nan(drawn: list[Panel]) -> None:
    for panel in drawn:
        json.dumps(panel.spec, allow_nan=False)
        assert panel.rows, panel.name
        assert all(row.keys() == panel.rows[0].keys() for row in panel.rows), panel.name


def test_titles_captions_and_descriptions_say_something(drawn: list[Panel]) -> None:
    assert len({panel.name for panel in drawn}) == len(drawn)
    for panel in drawn:
        assert panel.title and "nan" not in panel.title and "None" not in panel.title, panel.title
        assert panel.caption.endswith("."), panel.caption
        assert panel.description.endswith("."), panel.description
        assert not re.search(r"\bnan\b|None", panel.caption + panel.description), panel.name


def test_axes_name_their_quantity(drawn: list[Panel]) -> None:
    for panel in drawn:
        if panel.name == "floor-plan":
            continue  # a map has no axes
        for channel in ("x", "y"):
            found = encodings(panel.spec, channel)
            titled = [e.get("title") or "" for e in found]
            hidden = all(e.get("axis", 0) is None or e.get("type") == "nominal" or "value" in e for e in found)
            assert hidden or any(titled), (panel.name, channel)


def test_logarithmic_axes_say_so(drawn: list[Panel]) -> None:
    for panel in drawn:
        for channel in ("x", "y"):
            for encoding in encodings(panel.spec, channel):
                logarithmic = (encoding.get("scale") or {}).get("type") in ("log", "symlog")
                if logarithmic and encoding.get("title"):
                    assert "(log)" in encoding["title"], panel.name


def test_bars_start_at_zero(drawn: list[Panel]) -> None:
    for panel in drawn:
        for layer in panel.spec["layer"]:
            if layer["mark"].get("type") != "bar" or panel.name.startswith("thresholds"):
                continue  # the histogram of activations is logarithmic and says so
            for channel in ("x", "y"):
                scale = layer["encoding"].get(channel, {}).get("scale") or {}
                assert scale.get("zero", True) is not False and "domain" not in scale, panel.name


def test_colours_have_a_counterpart_in_the_dark(drawn: list[Panel], swept: list[Panel]) -> None:
    for panel in (*drawn, *swept):
        used = {text for text in strings(panel.spec) if re.fullmatch(r"#[0-9A-Fa-f]{3,6}", text)}
        assert used <= set(charts.DARK), (panel.name, used - set(charts.DARK))


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", charts.GROUP_COLOURS)
def test_networks_can_be_seen_in_light_and_dark(name: str) -> None:
    colour = charts.GROUP_COLOURS[name]
    assert contrast(colour, charts.PAPER) > 3
    assert contrast(charts.DARK[colour], charts.DARK[charts.PAPER]) > 3


@pytest.mark.parametrize("ink", [charts.TEXT, charts.MUTED])
def test_text_can_be_read_in_light_and_dark(ink: str) -> None:
    assert contrast(ink, charts.PAPER) > 4.5
    assert contrast(charts.DARK[ink], charts.DARK[charts.PAPER]) > 4.5


def test_one_colour_a_network_on_every_chart(drawn: list[Panel]) -> None:
    for panel in drawn:
        for encoding in encodings(panel.spec, "color"):
            scale = encoding.get("scale") or {}
            for name, colour in zip(scale.get("domain", []), scale.get("range", []), strict=False):
                if name in charts.GROUP_COLOURS:
                    assert colour in (charts.GROUP_COLOURS[name], charts.NATIVE), (panel.name, name)


@given(st.lists(st.floats(1e-15, 1e12), min_size=1, max_size=20))
def test_labels_of_a_logarithmic_axis_lie_inside_it(values: list[float]) -> None:
    domain, marks = charts.log_values(values)
    assert domain[0] < min(values) and max(values) < domain[1]
    assert marks == sorted(set(marks))
    assert all(domain[0] <= mark <= domain[1] for mark in marks)
    assert len(marks) <= 12


def test_logarithmic_axes_without_positive_numbers_have_a_default() -> None:
    domain, marks = charts.log_values([None, 0.0])
    assert domain[0] > 0 and marks


def test_components_keep_their_colours() -> None:
    names = ["synaptic operations", "output reads", "static", "state reset"]
    colours = charts.component_colours(names)
    assert colours[0] == charts.COMPONENT_COLOURS["synaptic operations"]
    assert colours[2] == charts.COMPONENT_COLOURS["static"]
    assert len(set(colours)) == 4


def test_static_charts_are_white_and_of_fixed_width(drawn: list[Panel]) -> None:
    spec = charts.static(drawn[0].spec, 500)
    assert spec["width"] == 500 and spec["background"] == charts.PAPER
    assert drawn[0].spec["width"] == "container" and drawn[0].spec["config"]["background"] == "transparent"


def test_charts_show_themselves_in_notebooks(drawn: list[Panel]) -> None:
    bundle = drawn[0]._repr_mimebundle_()
    assert bundle["application/vnd.vegalite.v6+json"]["width"] == 640
    assert bundle["image/svg+xml"].startswith("<svg")
    assert drawn[0].title in bundle["text/plain"]


@pytest.mark.parametrize(
    ("ends", "marks"), [((1, 2), [1, 2]), ((3, 4), [3, 4]), ((1, 16), [2, 4, 6, 8, 10, 12, 14, 16]), ((0.5, 3.5), [1, 2, 3]), ((7, 7), [7])]
)
def test_axes_of_steps_are_labelled_with_whole_numbers_once(ends: tuple[float, float], marks: list[int]) -> None:
    assert charts.whole_values(ends) == marks
