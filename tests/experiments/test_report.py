"""The report as text: one file with everything in it, Markdown, figures, the index, and what a notebook shows."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from samples import comparisons

from experiments.comparison import Comparison, Range, SeedSummary
from experiments.report import figures, html_fragment, index, index_of, page, report, report_markdown
from experiments.report import pages as reports
from experiments.report.glance import glance
from experiments.report.panels import focus, panels
from experiments.report.panels.panel import full
from experiments.report.sources import address
from neuro.errors import SpecError, StoreError


class Reader(HTMLParser):
    """Collect identifiers, links and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.inside: list[str] = []
        self.asked: list[str] = []
        self.sources: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        href = values.get("href") or ""
        self.inside += [href[1:]] if href.startswith("#") else []
        # A link to a source is followed by the reader or not at all; everything else would be asked for by the page.
        source = tag == "a" and values.get("class") == "trust" and href.startswith("https://")
        self.sources += [href] if source else []
        names = ("src", "href", "srcset", "poster")
        self.asked += [v for name in names if (v := values.get(name) or "") and not v.startswith(("#", "data:")) and not (source and v == href)]
        self.open = tag if tag in ("h1", "h2", "h3") else self.open

    def handle_data(self, data: str) -> None:
        if self.open:
            self.headings.append((self.open, data.strip()))
            self.open = ""


@pytest.fixture(scope="module")
def small() -> Comparison:
    return comparisons.small()


@pytest.fixture(scope="module")
def text(small: Comparison) -> str:
    return page(small)


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ("Davies et al. 2018, doi:10.1109/MM.2018.112130359, p. 86", ("DOI", "https://doi.org/10.1109/MM.2018.112130359")),
        ("(Merolla 2014, doi:10.1126/science.1254642).", ("DOI", "https://doi.org/10.1126/science.1254642")),
        ("Hoeppner 2021, arXiv:2103.08392; Mayr 2019, arXiv:1911.02385", ("arXiv", "https://arxiv.org/abs/2103.08392")),
        ("nengo/nengo-loihi e564f66e, block.py; doi:10.1109/x", ("GitHub", "https://github.com/nengo/nengo-loihi/tree/e564f66e")),
        ("nengo/nengo-loihi branch power-basics 6742ae2a, docs", ("GitHub", "https://github.com/nengo/nengo-loihi/tree/6742ae2a")),
        ("SpiNN-5 board, 2.671 W / 4 chips", None),
    ],
)
def test_a_source_is_opened_where_it_names_a_publication(source: str, opened: tuple[str, str] | None) -> None:
    assert address(source) == opened


def test_the_page_holds_everything_and_its_links_lead_somewhere(text: str) -> None:
    read = Reader(text)
    assert read.asked == [] and len(set(read.ids)) == len(read.ids)
    assert set(read.inside) <= set(read.ids) and any(name.startswith("figure-") for name in read.inside)
    assert "https://doi.org/10.1109/MM.2018.112130359" in read.sources
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.S)
    assert "@import" not in text[: text.index("</style>")] and "url(" not in text[: text.index("</style>")]
    assert not re.search(r"\b(nan|None|undefined)\b", re.sub(r"<[^>]+>", " ", body)), "a missing value was printed"


def test_sections_come_in_the_order_of_the_page(text: str) -> None:
    found = [name for level, name in Reader(text).headings if level == "h2"]
    assert found == list(reports.SECTIONS.values())


def test_what_is_missing_is_left_out() -> None:
    names = {name: [h for level, h in Reader(page(made)).headings if level == "h2"] for name, made in (("r", comparisons.regression()), ("b", comparisons.bare()))}
    assert "Who is hurt: classes and inputs" not in names["r"] and names["b"] == ["Summary", "Method, sources and how to run it again"]


def test_text_of_others_cannot_become_markup(small: Comparison) -> None:
    evil = '<img src="x" onerror="alert(1)"></script><b>'
    made = page(replace(small, title=evil, rows=tuple(replace(r, label=f"{r.label} {evil}", warnings=(evil,)) for r in small.rows)))
    assert evil not in made and "<img src=\"x\"" not in made and "&lt;img src=" in made
    # The data of the charts stands in scripts, where only "<" could end them.
    for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', made, flags=re.S):
        assert "<" not in script


def test_every_number_of_energy_and_time_links_to_its_source(text: str) -> None:
    table = text[text.index('id="table-summary"') :]
    table = table[: table.index("</table>")]
    assert len(re.findall(r'class="trust" href="#figure-', table)) == 5  # energy and latency of the two chip rows, energy of the ANN
    assert "Rests on" in table


def test_the_answer_at_a_glance_follows_the_numbers(small: Comparison) -> None:
    at = focus(small)
    assert at is not None
    said = {tile.says: tile for tile in glance(at)}
    assert "of 450 test samples right" in next(iter(said.values())).detail
    assert "More energy than the ANN on digital hardware" in said
    assert "times the" in said["More energy than the ANN on digital hardware"].detail
    cheap = {name: Range(r.value / 1e6, r.low / 1e6, r.high / 1e6) for name, r in at.main.energy.by_component.items()}  # type: ignore[union-attr]
    main = replace(at.main, energy=replace(at.main.energy, by_component=cheap), loss=Range(0.03, 0.02, 0.04))  # type: ignore[type-var]
    worse = [tile.says for tile in glance(replace(at, main=main))]
    assert "Less energy than the ANN on digital hardware, as far as figures are published" in worse
    real = replace(small, tests=tuple(replace(t, real=True) for t in small.tests))
    assert glance(replace(at, main=main, comparison=real))[0].says == "Accuracy is lost"
    assert glance(replace(at, main=main, comparison=replace(small, tests=())))[0].says.startswith("Too few samples")


def test_the_first_tile_tells_what_the_sentence_tells(small: Comparison) -> None:
    """Over seeds where there are several, and of a regression how well it fits."""
    at = focus(small)
    assert at is not None
    second = replace(at.main, key="seed1", loss=Range(at.main.loss.value + 0.02, 0.0, 0.03))  # type: ignore[union-attr]
    mean = SeedSummary("chip", "chip", {}, (at.main.key, "seed1"), 2, accuracy=Range(0.90, 0.5, 1.0), loss=Range(0.01, -0.2, 0.2))
    tile = glance(replace(at, comparison=replace(small, rows=(*small.rows, second), summaries=(mean,), tests=())))[0]
    assert tile.number == "90.0 %" and "mean over 2 seeds" in tile.detail and tile.says.startswith("Too few seeds")
    fit = focus(comparisons.regression())
    assert fit is not None
    assert glance(fit)[0].says.startswith("Fits") and glance(fit)[0].number == f"R² {fit.main.r2:.3f}"


def test_steps_are_shown_of_the_longest_run_that_gives_the_same_answers(small: Comparison) -> None:
    at = focus(small)
    assert at is not None and at.main.curve is not None
    c = at.main.curve
    cut = replace(c, **{name: getattr(c, name)[:2] for name in ("steps", "value", "low", "high", "disagreement")})
    short = replace(at.main, key="short", n_steps=2, curve=cut, settings={**at.main.settings, "run.n_steps": 2})
    both = replace(small, rows=(*small.rows, short))
    assert full(both, short).key == at.main.key and full(both, at.main) is at.main
    # A run whose conversion depends on T gives other answers on the way: it is another curve.
    other = replace(short, curve=replace(cut, value=cut.value - 0.01))
    assert full(replace(small, rows=(*small.rows, other)), other) is other


def test_a_few_runs_of_no_use_do_not_flatten_the_others(small: Comparison) -> None:
    at = focus(small)
    assert at is not None
    bad = Range(0.3, 0.28, 0.32)
    many = tuple(replace(at.main, key=f"copy {k}") for k in range(6))
    rows = (*small.rows, *many, replace(at.main, key="bad", label="bad", accuracy=bad))
    chart = next(p for p in panels(replace(small, rows=rows)) if p.name == "accuracy-energy")
    assert "1 run below" in chart.caption and any(row["label"] == "bad" for row in chart.rows)
    assert "below" not in next(p for p in panels(small) if p.name == "accuracy-energy").caption


def test_a_chart_without_a_neighbour_takes_the_whole_width(small: Comparison) -> None:
    found = [p for p in panels(small) if p.section == "accuracy"]
    placed = reports._laid_out(found)
    assert [p.wide for p in placed] == [False, False, True]
    assert [p.name for p in placed] == [p.name for p in found] and reports._laid_out([]) == []


def test_markdown_holds_verdict_tables_and_method(small: Comparison) -> None:
    made = report_markdown(small)
    assert made.startswith(f"# {small.title}\n\n{small.verdict}") and small.config in made
    lines = made.splitlines()
    k = next(i for i, line in enumerate(lines) if line.startswith("| Network"))
    assert set(lines[k + 1].replace(" ", "")) <= set("|-:")
    rows = lines[k + 2 : k + 2 + len(small.rows)]
    assert all(row.count("|") == lines[k].count("|") for row in rows)
    assert "\u2007" not in made and "\n\n\n\n" not in made
    for panel in panels(small):
        assert f"`{panel.name}`" in made


def test_findings_of_the_conversion_are_said_in_words(small: Comparison) -> None:
    said = "hidden1 is saturated: 12 % of its <active> neurons spike in every step"
    rows = tuple(replace(r, findings=(said,)) if r.group == "ideal" else r for r in small.rows)
    told = replace(small, rows=rows)
    assert "would help</h3>" not in page(small) and "would help</h3>" in page(told)
    assert "hidden1 is saturated" in page(told) and "<active>" not in page(told)
    assert f"- {said}" in report_markdown(told).splitlines()


def test_figures_are_written_as_asked(small: Comparison, tmp_path: Path) -> None:
    one = replace(small, data=(), rows=tuple(replace(r, rates=(), traces=(), confusion=None, per_class=None, thresholds=()) for r in small.rows))
    written = figures(one, tmp_path, ("svg", "pdf"))
    assert {path.stem for path in written} == {panel.name for panel in panels(one)}
    for path in written:
        head = path.read_bytes()[:5]
        assert head == (b"%PDF-" if path.suffix == ".pdf" else b"<svg "), path
    with pytest.raises(SpecError, match="pdf"):
        figures(one, tmp_path, ("pfd",))


def test_the_index_lists_every_comparison(small: Comparison, tmp_path: Path) -> None:
    made = index([("a/report.html", small), ("b/report.html", comparisons.regression())], tmp_path / "index.html").read_text()
    assert 'href="a/report.html"' in made and 'href="b/report.html"' in made
    assert small.verdict.split(" (")[0].replace("T = 8", "T\u00a0=\u00a08")[:20] in made
    assert "There is no comparison yet" in index([], tmp_path / "none.html").read_text()


def test_the_index_of_a_folder_links_to_pages_beside_their_comparisons(small: Comparison, tmp_path: Path) -> None:
    for name, made in (("old", replace(small, created="2026-01-01T00:00:00Z")), ("deep/new", replace(small, title="newest"))):
        (tmp_path / name).mkdir(parents=True)
        made.save(tmp_path / name / "comparison.npz")
    (tmp_path / "old" / "report.html").write_text("kept")
    out = tmp_path / "pages" / "index.html"
    out.parent.mkdir()
    assert [path.parent.name for path in index_of(tmp_path, out)] == ["new", "old"]
    made = out.read_text()
    assert made.index('href="../deep/new/report.html"') < made.index('href="../old/report.html"')
    assert (tmp_path / "old" / "report.html").read_text() == "kept" and "newest" in (tmp_path / "deep" / "new" / "report.html").read_text()
    with pytest.raises(StoreError, match="no comparison.npz"):
        index_of(out.parent, out)


def test_notebooks_show_verdict_and_table(small: Comparison) -> None:
    assert small._repr_html_() == html_fragment(small)
    assert "<table>" in small._repr_html_() and "on loihi1, T = 8" in small._repr_html_() and "<script" not in small._repr_html_()
    assert list(small.charts) == [panel.name for panel in panels(small)]
    assert repr(small) == "Comparison('digits on loihi1', 4 rows)"


@pytest.mark.slow
def test_two_hundred_trials_stay_below_three_megabytes(tmp_path: Path) -> None:
    assert report(comparisons.sweep(200), tmp_path / "report.html").stat().st_size < 3e6


def test_numbers_with_units_meet_at_the_point():
    from experiments.report.tables import Cell, texts

    cells = [Cell("3,198 positions", 3198), Cell("16.25 positions", 16.25), Cell("1e-05 positions", 1e-5), Cell("-")]
    made = [row[1].text for row in texts("t", "", ["a", "b"], [["x", cell] for cell in cells]).rows]
    figure, point = "\u2007", "\u2008"
    assert made == [f"3,198{2 * figure}{point} positions", "16.25 positions", f"1e-05{2 * figure}{point} positions", f"-{2 * figure}{point}"]
