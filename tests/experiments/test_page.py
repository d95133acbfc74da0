"""The page in a real browser: nothing in the console, nothing from elsewhere, charts, tables, tooltips, downloads, every width, and axe."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from samples import comparisons

from experiments.comparison import Comparison
from experiments.report import index, report
from experiments.report.panels import panels

sync_api = pytest.importorskip("playwright.sync_api")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DRAWN = "[...document.querySelectorAll('[data-chart]')].every((chart) => chart.dataset.drawn === 'yes')"
OVER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield made
        made.close()


MADE: dict[str, Callable[[], Comparison]] = {
    "small": comparisons.small,
    "chip": comparisons.chip_runs,
    "sweep": lambda: comparisons.sweep(60),
    "regression": comparisons.regression,
    "bare": comparisons.bare,
}


class Pages(dict[str, Path]):
    """Pages by name, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        path = self.folder / f"{name}.html"
        if name == "index":
            self[name] = index([("small.html", comparisons.small()), ("bare.html", comparisons.bare())], path)
        else:
            self[name] = report(MADE[name](), path)
        return self[name]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


class Opened:
    """A page with what it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(DRAWN)
        self.path = path


@pytest.fixture(scope="module")
def small(browser: Any, pages: Pages) -> Opened:
    return Opened(browser, pages["small"])


@pytest.mark.parametrize("name", ["small", "chip", pytest.param("sweep", marks=pytest.mark.slow), "regression", "bare", "index"])
def test_silent_alone_and_never_wider_than_the_screen(browser: Any, pages: Pages, name: str) -> None:
    opened = Opened(browser, pages[name])
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith(("data:", "blob:"))] == [pages[name].as_uri()]
    for width in (1280, 400):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.wait_for_timeout(50)
        assert opened.page.evaluate(OVER) <= 0, width
    opened.page.close()


@pytest.mark.parametrize("name", ["small", "chip"])
def test_drawn_at_400_pixels_charts_stay_inside(browser: Any, pages: Pages, name: str) -> None:
    opened = Opened(browser, pages[name], 400, "dark")
    wide = opened.page.evaluate("[...document.querySelectorAll('.chart svg')].map((e) => e.getBoundingClientRect().right).filter((x) => x > 400)")
    assert wide == [] and opened.page.evaluate(OVER) <= 0 and opened.said == []
    opened.page.close()


def test_every_chart_is_drawn_with_marks(small: Opened) -> None:
    found = small.page.evaluate(
        "[...document.querySelectorAll('[data-chart]')].map((e) => [e.dataset.chart, e.querySelectorAll('svg path, svg rect, svg line, svg text').length])"
    )
    assert [name for name, _ in found] == [p.name for p in panels(comparisons.small())]
    assert all(marks > 5 for _, marks in found), found


def test_a_tooltip_shows_the_numbers_of_a_point(small: Opened) -> None:
    chart = small.page.locator("[data-chart='accuracy-steps']")
    chart.scroll_into_view_if_needed()
    chart.locator("svg .mark-symbol path").first.hover(force=True)
    tooltip = small.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for(state="visible")
    text = tooltip.inner_text()
    assert "run" in text and "accuracy" in text and "%" in text


def column(page: Any, table: str, k: int) -> list[str]:
    found: list[str] = page.evaluate(f"[...document.querySelector('#table-{table}').tBodies[0].rows].map((r) => r.cells[{k}].dataset.sort ?? '')")
    return found


def test_tables_sort_by_keyboard_with_missing_values_last(small: Opened) -> None:
    page = small.page
    heads = page.evaluate("[...document.querySelectorAll('#table-summary thead th')].map((e) => e.querySelector('.head').textContent)")
    k = heads.index("Energy")
    before = column(page, "summary", k)
    head = page.locator("#table-summary thead th").nth(k)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    down = column(page, "summary", k)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    up = column(page, "summary", k)
    numbers = sorted(float(x) for x in before if x)
    assert [float(x) for x in up if x] == numbers and [float(x) for x in down if x] == numbers[::-1]
    missing = before.count("")
    assert missing and up[-missing:] == down[-missing:] == [""] * missing
    assert page.locator("#table-summary thead th[aria-sort=ascending]").count() == 1


def test_a_number_reaches_its_source_in_two_clicks(small: Opened) -> None:
    link = small.page.locator("#table-summary a.trust").first
    assert "(quoted)" in (link.get_attribute("title") or "")
    target = link.get_attribute("href")
    link.click()
    row = small.page.locator(f"{target}").first
    row.wait_for(state="visible")
    assert "doi:" in row.locator("xpath=ancestor-or-self::tr").inner_text()
    small.page.evaluate("history.replaceState(null, '', ' ')")


def taken(page: Any, selector: str) -> bytes:
    with page.expect_download() as waiting:
        page.locator(selector).first.click()
    return Path(waiting.value.path()).read_bytes()


def test_every_trust_leads_to_a_line_of_the_appendix_that_is_in_sight(browser: Any, pages: Pages) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 900}, reduced_motion="reduce")
    page.goto(pages["chip"].as_uri())
    page.wait_for_function(DRAWN)
    found = page.evaluate(
        """() => [...document.querySelectorAll("a.trust[href^='#']")].map((link) => {
            const folded = link.closest("details"), line = document.getElementById(link.getAttribute("href").slice(1));
            if (folded) folded.open = true;
            if (!line) return [link.getAttribute("href"), "no such line"];
            const appendix = line.closest("details");
            if (appendix) appendix.open = false;
            link.click();
            const box = line.getBoundingClientRect();
            return [link.getAttribute("href"), box.height > 0 && box.top >= -5 && box.top <= innerHeight ? "" : "out of sight"];
        })"""
    )
    page.close()
    assert len(found) > 4 and [pair for pair in found if pair[1]] == []


def test_charts_are_taken_away_as_svg_png_and_csv(small: Opened) -> None:
    svg = taken(small.page, "[data-take=svg][data-of='accuracy-steps']")
    assert svg.startswith(b"<svg") and b"#D55E00" in svg
    png = taken(small.page, "[data-take=png][data-of='accuracy-steps']")
    assert png.startswith(b"\x89PNG") and len(png) > 5000
    rows = list(csv.DictReader(io.StringIO(taken(small.page, "[data-take=csv][data-of='accuracy-steps']").decode())))
    panel = next(p for p in panels(comparisons.small()) if p.name == "accuracy-steps")
    assert len(rows) == len(panel.rows)
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in panel.rows]


def test_tables_and_the_experiment_file_are_taken_away(small: Opened) -> None:
    rows = list(csv.reader(io.StringIO(taken(small.page, "[data-table-csv=summary]").decode())))
    assert rows[0][0].startswith("Network") and len(rows) == 1 + len(comparisons.small().rows)
    assert taken(small.page, "[data-save=config]").decode() == comparisons.small().config


def test_the_numbers_of_a_chart_open_below_it(small: Opened) -> None:
    button = small.page.locator("[data-numbers='latency']")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    panel = next(p for p in panels(comparisons.small()) if p.name == "latency")
    assert small.page.locator("[data-numbers-of='latency'] tbody tr").count() == len(panel.rows)
    button.click()
    assert small.page.locator("[data-numbers-of='latency']").is_hidden()


@pytest.mark.slow
def test_a_long_table_is_filtered(browser: Any, pages: Pages) -> None:
    opened = Opened(browser, pages["sweep"])
    box = opened.page.locator("input[data-filter=summary]")
    total = opened.page.locator("#table-summary tbody tr").count()
    box.fill("NATIVE reset")
    texts = [t.lower() for t in opened.page.locator("#table-summary tbody tr:visible").all_inner_texts()]
    assert 0 < len(texts) < total and all("native" in t and "reset" in t for t in texts)
    assert opened.page.locator("[data-shown=summary]").inner_text() == f"{len(texts)} of {total} rows"
    opened.page.close()


def test_print_is_black_on_white_and_shows_what_was_folded(browser: Any, pages: Pages) -> None:
    opened = Opened(browser, pages["small"], scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    style = opened.page.evaluate("(({ backgroundColor, color }) => [backgroundColor, color])(getComputedStyle(document.body))")
    assert style == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert opened.page.locator("details:not([open])").count() == 0
    assert opened.page.locator("nav, .tools").evaluate_all("found => found.every((e) => getComputedStyle(e).display === 'none')")
    opened.page.close()


def test_printed_before_its_charts_are_drawn_the_page_has_them_all(browser: Any, pages: Pages) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["small"].as_uri(), wait_until="domcontentloaded")
    # Promises are kept before a listener returns to the browser, timers and frames are not: printing waits for none of them.
    missing = page.evaluate(
        "async () => { window.dispatchEvent(new Event('beforeprint')); for (let k = 0; k < 1000; k++) await null;"
        " return [...document.querySelectorAll('[data-chart]')].filter((e) => e.querySelectorAll('svg path').length < 2).map((e) => e.dataset.chart) }"
    )
    assert missing == []
    page.wait_for_function(DRAWN)
    assert page.locator(".chart svg").count() == page.locator("[data-chart]").count()
    page.close()


def test_without_scripts_charts_are_told_in_words(browser: Any, pages: Pages) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(pages["small"].as_uri())
    assert page.locator(".notice").first.is_visible() and page.locator("svg").count() == 0
    heights = page.locator("[data-chart]").evaluate_all("found => found.map((e) => e.getBoundingClientRect().height)")
    assert heights and min(heights) > 15  # a line of words at least
    assert page.locator("#table-summary").is_visible() and page.locator("button").count() == page.locator("button:not(:visible)").count()
    page.close()


SLOW = pytest.mark.slow
AXED = [
    ("index", 400, "dark"),
    ("bare", 400, "light"),
    pytest.param("small", 1280, "light", marks=SLOW),
    pytest.param("small", 400, "light", marks=SLOW),
    pytest.param("small", 1280, "dark", marks=SLOW),
    pytest.param("sweep", 1280, "light", marks=SLOW),
    pytest.param("regression", 1280, "dark", marks=SLOW),
]


@pytest.mark.parametrize(("name", "width", "scheme"), AXED)
def test_axe_finds_nothing(browser: Any, pages: Pages, name: str, width: int, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python")
    opened = Opened(browser, pages[name], width, scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    opened.page.add_script_tag(content=resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    # The colours inside the charts are tested with the charts.
    found = opened.page.evaluate("axe.run({ exclude: ['.chart svg'] })")
    told = [(v["id"], v["help"], [node["html"][:160] for node in v["nodes"][:4]]) for v in found["violations"]]
    assert told == [], json.dumps(told, indent=1)
    looked = {rule["id"] for rule in found["passes"]}
    assert {"color-contrast", "landmark-one-main", "region", "heading-order", "html-has-lang"} <= looked
    opened.page.close()
