"""The page of a tuning run in headless Chromium: sorting, selecting, plots, narrow screens, and no requests."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_samples import HOSTILE, layer, many_layers, report, trial, usual_layers

from drpass.report_page import write

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver on this machine")

Open = Callable[[dict[str, Any]], WebDriver]


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to start as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: WebDriver, tmp_path: Path) -> Iterator[Open]:
    """Opens a report's page; at the end of the test the console must be silent and nothing else been loaded."""
    path = tmp_path / "report.html"
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)

    def open_page(source: dict[str, Any]) -> WebDriver:
        write(source, path)
        browser.get(path.as_uri())
        return browser

    yield open_page
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        entry["params"]["request"]["url"] for entry in messages if entry["method"] == "Network.requestWillBeSent"
    ]
    assert path.as_uri() in requests
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


def all_of(browser: WebDriver, selector: str) -> list[WebElement]:
    return list(browser.find_elements(By.CSS_SELECTOR, selector))


def names(browser: WebDriver) -> list[str]:
    return [element.text for element in all_of(browser, "#layers tbody .name")]


def heading(browser: WebDriver, text: str) -> WebElement:
    return next(element for element in all_of(browser, "#layers thead th") if element.text.startswith(text))


def narrow(browser: WebDriver) -> None:
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def no_overflow(browser: WebDriver) -> bool:
    script = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    return bool(browser.execute_script(script))


def test_click_on_a_heading_sorts_and_another_click_turns_round(opened: Open) -> None:
    page = opened(report(usual_layers()))
    assert names(page) == ["conv2", "conv10", "conv1"]
    dense = heading(page, "dense ms")
    assert dense.get_attribute("aria-sort") == "none"
    dense.find_element(By.TAG_NAME, "button").click()
    assert (names(page), dense.get_attribute("aria-sort")) == (["conv2", "conv10", "conv1"], "descending")
    dense.find_element(By.TAG_NAME, "button").click()
    # What has no time is last both ways.
    assert (names(page), dense.get_attribute("aria-sort")) == (["conv10", "conv2", "conv1"], "ascending")


def test_enter_on_a_heading_sorts_names_by_their_numbers(opened: Open) -> None:
    page = opened(report(usual_layers()))
    button = heading(page, "layer").find_element(By.TAG_NAME, "button")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert names(page) == ["conv1", "conv2", "conv10"]
    assert heading(page, "layer").get_attribute("aria-sort") == "ascending"
    sorted_by = [element.get_attribute("aria-sort") for element in all_of(page, "#layers thead th")]
    assert sorted_by.count("none") == len(sorted_by) - 1


def test_click_on_a_row_shows_that_layer(opened: Open) -> None:
    page = opened(report(usual_layers()))
    assert page.find_element(By.ID, "layer-name").text == "conv2"
    all_of(page, "#layers tbody tr")[1].find_elements(By.TAG_NAME, "td")[1].click()
    assert page.find_element(By.ID, "layer-name").text == "conv10"
    assert [row.get_attribute("data-layer") for row in all_of(page, "#layers tbody tr[aria-current]")] == ["1"]
    assert len(all_of(page, "circle.trial")) == 2
    assert page.find_element(By.ID, "ratios-caption").text.startswith("Only tried: grid L=4 step=1σ")


def test_enter_on_the_name_of_a_layer_shows_it(opened: Open) -> None:
    page = opened(report(usual_layers()))
    button = all_of(page, "#layers tbody button")[2]
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.find_element(By.ID, "layer-name").text == "conv1"
    assert page.find_element(By.ID, "layer-reason").text == "kept: depthwise (group = channels)"
    assert page.find_element(By.ID, "trials").text == "No setting was tried."
    assert page.find_element(By.ID, "ratios").text == "No setting that clusters was tried."


def test_plots_have_one_mark_for_each_figure(opened: Open) -> None:
    page = opened(report(usual_layers()))
    # conv2: exact and one clustered setting with times, one without, a dense time, r_c of three groups.
    assert len(all_of(page, "#trials circle.trial")) == 2
    assert len(all_of(page, "#trials circle.best")) == 1
    assert len(all_of(page, "#trials line.untimed")) == 1
    assert len(all_of(page, "#trials line.dense")) == 1
    counts = [bar.get_attribute("textContent") for bar in all_of(page, "#ratios rect.bar")]
    assert [text for text in counts if not text.endswith(": 0 groups")] == [
        "r_c 0.1 to 0.15: 2 groups",
        "r_c 0.3 to 0.35: 1 groups",
    ]
    # Original, two layers, everything else, rewritten.
    assert len(all_of(page, "#waterfall rect.total")) == 2
    assert len(all_of(page, "#waterfall rect.saved")) == 3
    assert len(all_of(page, "#trial-table tbody tr")) == 3


def test_positions_follow_the_figures(opened: Open) -> None:
    page = opened(report(usual_layers()))
    exact, chosen = all_of(page, "#trials circle.trial")
    dense = page.find_element(By.CSS_SELECTOR, "#trials line.dense")

    def at(element: WebElement, name: str) -> float:
        return float(element.get_attribute(name) or "nan")

    zero = at(page.find_element(By.CSS_SELECTOR, "#trials line.zero"), "y1")
    heights = [zero - at(exact, "cy"), zero - at(chosen, "cy"), zero - at(dense, "y1")]
    assert [height / heights[2] for height in heights] == pytest.approx([3 / 5, 1.5 / 5, 1])
    assert at(exact, "cx") < at(chosen, "cx")
    bars = all_of(page, "#waterfall rect.bar")
    widths = [at(bar, "width") for bar in bars]
    assert [width / widths[0] for width in widths] == pytest.approx([1, 0.35, 0.2, 0.05, 0.4])
    # Each step ends where the next begins, the last one where the rewritten model's bar ends.
    assert at(bars[3], "x") == pytest.approx(at(bars[4], "x") + widths[4])


def test_errors_stand_in_decades_and_zero_before_them(opened: Open) -> None:
    errors = [0.0, 1e-4, 1e-3, 1e-2]
    page = opened(report([layer("conv", 3.0, None, [trial(f"{error}", 1.0, error) for error in errors])]))
    places = [float(mark.get_attribute("cx") or "nan") for mark in all_of(page, "#trials circle.trial")]
    steps = [right - left for left, right in itertools.pairwise(places)]
    assert min(steps) > 50
    assert steps == pytest.approx([steps[0]] * 3)
    ticks = page.find_element(By.CSS_SELECTOR, "#trials svg").text.split()
    assert {"0", "10⁻⁴", "10⁻³", "10⁻²"} <= set(ticks)


def test_names_that_look_like_html_are_harmless(opened: Open) -> None:
    hostile = layer(HOSTILE, 2.0, HOSTILE, [trial(HOSTILE, 1.0, 0.1, [0.5])], HOSTILE)
    page = opened(report([hostile]) | {"model": HOSTILE, "verdict": HOSTILE})
    assert page.execute_script("return window.broken === undefined")
    assert all_of(page, "img") == []
    assert page.find_element(By.ID, "layer-name").get_attribute("textContent") == HOSTILE
    assert all_of(page, "#layers tbody .name")[0].get_attribute("textContent") == HOSTILE
    assert len(all_of(page, "circle.trial")) == 1


@pytest.mark.parametrize(
    "source",
    [
        report(usual_layers()),
        report(usual_layers(), measured=False),
        report([layer("n" * 5000, 2.0, "exact", [trial("exact", 1.0, 0.0)])]),
        report([layer("one", None, None, [])], measured=False),
        report([]),
    ],
    ids=["usual", "unchanged", "huge name", "nothing known", "no layers"],
)
def test_page_fits_a_phone_and_a_wide_screen(opened: Open, source: dict[str, Any]) -> None:
    page = opened(source)
    assert no_overflow(page)
    narrow(page)
    page.refresh()
    assert page.execute_script("return document.documentElement.clientWidth") == 400
    assert no_overflow(page)


def test_plots_are_drawn_again_when_the_screen_turns_narrow(opened: Open) -> None:
    page = opened(report(usual_layers()))
    wide = [float(element.get_attribute("width") or "nan") for element in all_of(page, "svg")]
    narrow(page)
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert len(wide) == 3
    assert all(float(element.get_attribute("width") or "nan") < 400 for element in all_of(page, "svg"))
    assert max(wide) > 400
    assert no_overflow(page)


def test_five_hundred_layers_sort_and_have_a_short_waterfall(opened: Open) -> None:
    page = opened(report(many_layers(500)))
    assert len(all_of(page, "#layers tbody tr")) == 500
    assert len(all_of(page, "#waterfall rect.bar")) == 28  # 24 layers, the others, everything else, both totals
    heading(page, "saved ms").find_element(By.TAG_NAME, "button").click()
    first = page.find_element(By.CSS_SELECTOR, "#layers tbody .name")
    assert first.text == "stage49/block499/Conv2D"
    page.find_element(By.CSS_SELECTOR, "#waterfall .step[data-layer]").click()
    assert page.find_element(By.ID, "layer-name").text == "stage49/block499/Conv2D"


def test_without_javascript_the_table_is_readable(opened: Open, browser: WebDriver) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page = opened(report(usual_layers()))
    assert names(page) == ["conv2", "conv10", "conv1"]
    assert page.find_element(By.CSS_SELECTOR, ".figure.speed strong").text == "2.50×"
    assert not page.find_element(By.ID, "layer").is_displayed()
