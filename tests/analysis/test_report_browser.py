"""The page of a report in Chromium: nothing leaves it, the keyboard is enough, and everyone can read it."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

from analysis.days import NOW, manifest_of, used
from analysis.two_snapshots import key, write
from poolcensus import report
from poolcensus.model import Outcome, SkippedAccount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analysis.two_snapshots import Content

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not installed"
    ),
    pytest.mark.usefixtures("renderer"),
    pytest.mark.xdist_group("browser"),
]

HOSTILE = "<img src=x onerror=alert(1)></table><script>alert(2)</script>"
ACTIVE = "return document.activeElement"
SHOWN = """
const shown = document.querySelectorAll("#worklist tbody tr:not([hidden]) th");
return Array.from(shown, (each) => each.textContent);
"""


def _write(dest: Path) -> None:
    """Three days with something for each part of the page."""
    some: Content = {
        key(at): [used(at, at % 3, State="RUNNING" if at % 2 else "STOPPED")] for at in range(1, 30)
    }
    failed: Content = {
        key(at, region): Outcome.ACCESS_DENIED for at in range(40, 60) for region in ("a", "b")
    }
    large = {"ActiveUserSessions": 0, "ActualUserSessions": 1200}
    hostile = used(70, 0, CapacityStatus=large, PoolName=HOSTILE, Errors=[{"ErrorCode": HOSTILE}])
    skipped = (SkippedAccount("000000000099", "acct-99", "SUSPENDED"),)
    for day, has in enumerate(
        (
            {**some, key(31): [used(31, 0)]},
            {},
            {**some, **failed, key(31): Outcome.SCP_DENIED, key(70): [hostile]},
        )
    ):
        write(dest, has, manifest_of(day, accounts_skipped=skipped))
    (dest / manifest_of(1).snapshot_id / "manifest.json").write_text("{")


@pytest.fixture(scope="module")
def driver(renderer: None) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    # Root, in the containers in which tests run, has no sandbox, and they have little shared memory.
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield made
    finally:
        made.quit()


@pytest.fixture(scope="module")
def page(driver: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    _write(folder / "snapshots")
    report("latest", folder / "snapshots", now=NOW).write(folder / "page.html")
    return (folder / "page.html").as_uri()


@pytest.fixture
def browser(driver: webdriver.Chrome, page: str) -> webdriver.Chrome:
    """The page, opened anew on a desktop in daylight."""
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    show(driver, "light")
    driver.get(page)
    return driver


def show(driver: webdriver.Chrome, scheme: str, width: int = 1280) -> None:
    """Look at it in light or dark, so many pixels wide."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def log(driver: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What the browser has logged since it was asked last."""
    return [*driver.get_log(kind)]  # type: ignore[no-untyped-call] # selenium's


def press(driver: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(driver).send_keys(*keys).perform()


def tab_to(driver: webdriver.Chrome, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(200):
        if driver.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return
        press(driver, Keys.TAB)
    pytest.fail(f"the keyboard does not reach {selector}")


def test_nothing_is_requested_and_nothing_is_wrong(driver: webdriver.Chrome, page: str) -> None:
    for kind in ("browser", "performance"):
        log(driver, kind)
    driver.get(page)
    assert log(driver, "browser") == []
    asked = [json.loads(each["message"])["message"] for each in log(driver, "performance")]
    urls = {
        each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"
    }
    assert urls <= {page, "data:,"}
    assert page in urls


def test_an_outcome_stands_on_one_line(driver: webdriver.Chrome, tmp_path: Path) -> None:
    failed: Content = {key(at): each for at, each in enumerate(Outcome) if each is not Outcome.OK}
    write(tmp_path, failed, manifest_of(0))
    report("latest", tmp_path, now=NOW).write(tmp_path / "page.html")
    for width in (390, 1280):
        show(driver, "light", width)
        driver.get((tmp_path / "page.html").as_uri())
        heights = driver.execute_script("""
            const range = document.createRange();
            return Array.from(document.querySelectorAll("#outcomes tbody th"), (each) => {
                range.selectNodeContents(each);
                return range.getClientRects().length;
            });
        """)
        assert heights == [1] * len(failed)


def test_the_policy_stops_what_would_leave_the_page(browser: webdriver.Chrome) -> None:
    stopped = browser.execute_async_script("""
        const done = arguments[0], found = [];
        addEventListener("securitypolicyviolation", (event) => {
            found.push(event.effectiveDirective);
            if (found.length === 3) done(found.sort());
        });
        document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:9/x.png" }));
        document.body.append(Object.assign(document.createElement("script"), { textContent: "stolen = 1" }));
        fetch("http://127.0.0.1:9/x").catch(() => undefined);
    """)
    assert stopped == ["connect-src", "img-src", "script-src-elem"]
    log(browser, "browser")


def test_hostile_names_are_text(browser: webdriver.Chrome) -> None:
    texts: list[str] = browser.execute_script(SHOWN)
    assert texts[-1] == f"{HOSTILE}wspool-000000070"
    assert browser.execute_script("return document.images.length + document.scripts.length") == 1
    drawn = browser.execute_script(
        "return Array.from(document.querySelectorAll('svg text'), (e) => e.textContent)"
    )
    assert HOSTILE[:21] + "…" in drawn


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        pytest.param(1280, "light", marks=pytest.mark.long),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.long),
        pytest.param(390, "light", marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing(browser: webdriver.Chrome, scheme: str, width: int) -> None:
    show(browser, scheme, width)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, Any] = browser.execute_async_script(
        "const done = arguments[0]; axe.run({ resultTypes: ['violations', 'passes'] }).then(done)"
    )
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]
    ] == []
    assert "color-contrast" in {each["id"] for each in found["passes"]}


def _luminance(colour: str) -> float:
    parts = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_chart_draws_stands_out_from_its_ground(browser: webdriver.Chrome, scheme: str) -> None:
    # https://www.w3.org/TR/WCAG22/#non-text-contrast, which axe does not look at.
    show(browser, scheme)
    colours: list[list[str]] = browser.execute_script("""
        const shape = (each) => [getComputedStyle(each).fill, getComputedStyle(each).stroke];
        const ground = (each) => getComputedStyle(each.closest("main > section")).backgroundColor;
        return Array.from(document.querySelectorAll("svg path"), (each) => [ground(each), ...shape(each)]);
    """)
    seen = {(ground, colour) for ground, *drawn in colours for colour in drawn if colour.startswith("rgb(")}
    assert len(seen) >= 3
    for ground, colour in seen:
        light, dark = sorted((_luminance(ground), _luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, (ground, colour)


def test_the_keyboard_skips_sorts_and_filters(browser: webdriver.Chrome) -> None:
    press(browser, Keys.TAB)
    assert browser.execute_script(ACTIVE).text == "Skip to the report"
    press(browser, Keys.ENTER)
    assert browser.execute_script(ACTIVE).get_attribute("id") == "main"
    before: list[str] = browser.execute_script(SHOWN)
    tab_to(browser, ".filter input")
    tab_to(browser, "#worklist thead th:nth-child(8) button")
    press(browser, Keys.ENTER)
    head = browser.find_element("css selector", "#worklist thead th:nth-child(8)")
    assert head.get_attribute("aria-sort") == "ascending"
    press(browser, Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending"
    cells = browser.find_elements("css selector", "#worklist tbody td:nth-child(8)")
    texts = [each.get_attribute("textContent") or "" for each in cells]
    assert texts[0].startswith("never")
    assert texts[-1].startswith("2026-11-03")
    assert sorted(browser.execute_script(SHOWN)) == sorted(before)
    browser.find_element("css selector", ".filter input").send_keys("Desk-2 stopped")
    assert browser.find_element("css selector", ".filter output").text == "6 of 31 rows"
    assert len(browser.execute_script(SHOWN)) == 6
    browser.find_element("css selector", ".filter input").clear()
    browser.find_element("css selector", ".filter select").send_keys("not in this snapshot")
    assert browser.execute_script(SHOWN) == ["desk-31wspool-000000031"]


def test_numbers_are_sorted_as_numbers(browser: webdriver.Chrome) -> None:
    button = browser.find_element("css selector", "#account thead th:nth-child(4) button")
    browser.execute_script("arguments[0].click()", button)
    column = browser.find_elements("css selector", "#account tbody td:nth-child(4)")
    assert [each.get_attribute("textContent") for each in column] == ["10"] * 29 + ["1,200"]


def test_without_script_everything_is_there(browser: webdriver.Chrome, page: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    assert len(browser.find_elements("css selector", "#worklist tbody tr")) == 31
    assert not browser.find_element("css selector", ".filter").is_displayed()
    assert browser.find_elements("css selector", "thead button") == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_itself_is_no_wider_than_the_screen(browser: webdriver.Chrome, width: int) -> None:
    show(browser, "light", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
