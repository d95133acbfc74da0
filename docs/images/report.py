"""Take the picture of the README: spikeport demo && python docs/images/report.py spikeport-demo/report.html

Needs Playwright and a Chromium. The first two charts of the accuracy section, at 1280 pixels, as the page draws them in the light.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

MARGIN = 20  # [px]


def main(page: Path, picture: Path) -> None:
    """Write the picture of a page."""
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page(viewport={"width": 1280, "height": 1400}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.wait_for_function("performance.getEntriesByName('charts-drawn').length > 0", timeout=120_000)
        tab.locator("#accuracy").scroll_into_view_if_needed()
        head = tab.locator("#accuracy").bounding_box()
        charts = [tab.locator(f"#{name}").bounding_box() for name in ("accuracy-steps", "accuracy-energy")]
        assert head is not None and all(charts)
        bottom = max(box["y"] + box["height"] for box in charts if box is not None)
        top = tab.evaluate("window.scrollY") + head["y"]
        clip = {"x": head["x"] - MARGIN, "y": top, "width": head["width"] + 2 * MARGIN, "height": bottom - head["y"] + MARGIN / 2}
        tab.screenshot(path=str(picture), clip=clip, full_page=True)  # type: ignore[arg-type]
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_suffix(".png"))
