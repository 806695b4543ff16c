"""The dashboard as a person sees it: Chromium before a gateway under load, in real time."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gateway.downstream.dashboard import Dashboard
from gateway.sandbox import Answer, Drop, Fault
from tests.browser.chromium import chromium, media, requested
from tests.browser.harness import TOKEN, DashboardHarness, start_dashboard_harness
from tests.browser.reading import (
    complaints,
    contrast,
    open_page,
    rows,
    text,
    wait,
    width_of_last_bar,
)
from tests.programs import needs

pytestmark = [pytest.mark.slow, needs("chromium", "chromedriver")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def harness() -> Iterator[DashboardHarness]:
    """A gateway of four tenants whose tasks take half a minute."""
    with start_dashboard_harness({"on": True, "thumbnails": True}, low=25.0, high=35.0) as harness:
        yield harness


@pytest.fixture
def page(browser: Chrome, harness: DashboardHarness) -> Chrome:
    """The page, live."""
    return open_page(browser, harness.url)


def _tenths(n: int) -> Iterator[None]:
    for _ in range(n):
        time.sleep(0.1)  # noqa: TID251 - another program is watched
        yield


def test_an_idle_gateway(browser: Chrome) -> None:
    """With nothing to see the page says so in words."""
    with start_dashboard_harness({"on": True}) as idle:
        page = open_page(browser, idle.url)

        assert text(page, "more-running") == "No edit is running."
        assert text(page, "more-waiting") == "No edit is waiting."
        assert text(page, "more-kept") == "All pictures were fetched."
        assert text(page, "more-answered") == "Nothing since the start."
        assert len(rows(page, "tenants")) == 4
        assert not complaints(page)


def test_edits_appear_and_bars_move(page: Chrome, harness: DashboardHarness) -> None:
    """Edits come into the table without a reload, and their bars grow while they run."""
    harness.edit("acme")
    for _ in range(3):
        harness.edit("tiny")
    wait(page, lambda: len(rows(page, "running")) == 2 and len(rows(page, "waiting")) == 2)
    wait(page, lambda: any("acme acme-cn running upstream" in it for it in rows(page, "running")))

    assert text(page, "n-running") == "2"
    assert all("tiny beijing waiting" in row for row in rows(page, "waiting"))
    harness.edit("abroad")
    wait(page, lambda: any("abroad-sg" in row for row in rows(page, "running")))
    before = width_of_last_bar(page, "running")
    wait(page, lambda: width_of_last_bar(page, "running") > before + 5)
    # A state comes once a second: what moves oftener moves by the page's own clock.
    wait(page, lambda: len({width_of_last_bar(page, "running") for _ in _tenths(12)}) >= 4)
    script = 'return document.querySelector("#running .bar").getAttribute("aria-label")'
    assert "running upstream" in page.execute_script(script)


def test_thumbnails(page: Chrome, harness: DashboardHarness) -> None:
    """Switched on, an edit that comes while somebody looks has a small picture."""
    harness.edit("studio")
    script = """
      return [...document.querySelectorAll("#running img")].some((it) => it.naturalWidth === 56);
    """

    wait(page, lambda: page.execute_script(script))


def test_a_broken_upstream(page: Chrome, harness: DashboardHarness) -> None:
    """A key that the region refuses is shown as suspended with its reason, and above all else."""
    harness.edit("studio")
    wait(page, lambda: "studio-old" in text(page, "alert"))

    assert (
        text(page, "alert")
        == "Suspended, used only if no other key is left: studio-old (InvalidApiKey)"
    )
    script = """return document.querySelector('.keys li[data-state="rests"]').innerText"""
    key = " ".join(page.execute_script(script).split())
    assert key.startswith("studio-old suspended: InvalidApiKey retried in ")


def test_a_doubtful_end(browser: Chrome) -> None:
    """An edit that may be billed and that no client knows of is listed with those to fetch."""
    lost = Fault(on="submit", action=Drop(after=True), prompt="lost")
    with start_dashboard_harness({"on": True}, low=5.0, high=5.0) as harness:
        page = open_page(browser, harness.url)
        harness.set_faults(lost)
        harness.edit("acme", prompt="lost", model="qwen-image-edit-plus")
        wait(page, lambda: any("running upstream" in row for row in rows(page, "running")))
        harness.leave()
        wait(page, lambda: any("maybe billed, not reported" in row for row in rows(page, "kept")))

        assert rows(page, "running") == []
        assert text(page, "n-kept") == "1"


def test_a_refusal(page: Chrome, harness: DashboardHarness) -> None:
    """A refused request is among the recent responses, with its code."""
    harness.edit("abroad", size="9999x9999")

    wait(page, lambda: any("400 invalid_value" in row for row in rows(page, "answered")))


def test_nothing_becomes_html(page: Chrome, harness: DashboardHarness) -> None:
    """A text from elsewhere is shown letter by letter, and the browser would make no HTML of it."""
    hostile = "<img src=x onerror=document.title=1>"
    harness.set_faults(Fault(on="submit", action=Answer(400, hostile), prompt="hostile"))
    harness.edit("abroad", prompt="hostile")
    harness.edit("acme", prompt="hostile")
    make = """
      try { document.body.innerHTML = "<b>made</b>"; return "made"; } catch (it) { return it.name; }
    """

    wait(page, lambda: any(hostile in row for row in rows(page, "answered")))
    assert not page.find_elements(By.CSS_SELECTOR, "img[src=x]")
    assert page.execute_script(make) == "TypeError"
    wait(page, lambda: any("TrustedHTML" in it for it in complaints(page)))
    harness.set_faults()


def test_it_tells_no_secret(page: Chrome, harness: DashboardHarness) -> None:
    """Neither the page nor what it fetched holds a prompt or a key."""
    harness.edit("acme", prompt="canary-prompt")
    wait(page, lambda: len(rows(page, "running")) >= 1)
    page.find_element(By.TAG_NAME, "summary").click()
    wait(page, lambda: "is good" in text(page, "meaning"))

    assert "tenant acme" in text(page, "meaning")
    source = page.page_source
    assert not [it for it in ("canary-prompt", "sk-acme", "wk-acme", "sepia") if it in source]


def test_it_talks_to_nobody_else(page: Chrome, harness: DashboardHarness) -> None:
    """Every request goes to the gateway, and the console stays empty."""
    harness.edit("acme")
    requested(page)
    complaints(page)
    open_page(page, harness.url)
    wait(page, lambda: len(rows(page, "running")) >= 1)

    hosts = {urlsplit(url).netloc for url in requested(page) if url.startswith("http")}
    assert hosts == {urlsplit(harness.url).netloc}
    assert not complaints(page)


def test_by_keyboard(page: Chrome, harness: DashboardHarness) -> None:
    """Tab leads through skip link, filter, pause, accounts and config; the focus is outlined."""
    script = """
      const it = document.activeElement;
      return [it.id || it.className || it.tagName, getComputedStyle(it).outlineStyle];
    """
    seen = []
    for _ in range(5):
        ActionChains(page).send_keys(Keys.TAB).perform()
        seen.append(page.execute_script(script))

    assert [name for name, _ in seen] == ["skip", "filter", "pause", "accounts", "SUMMARY"]
    assert {outline for _, outline in seen} == {"solid"}


def test_the_filter(page: Chrome, harness: DashboardHarness) -> None:
    """What is typed there narrows every table, and the page says how much it hides."""
    harness.edit("acme")
    harness.edit("tiny")
    wait(page, lambda: any("acme" in row for row in rows(page, "running")))
    page.find_element(By.ID, "filter").send_keys("acme")
    wait(page, lambda: len(rows(page, "tenants")) == 1)

    assert all("acme" in row for row in rows(page, "running"))
    assert "hidden by the filter" in text(page, "more-tenants")
    page.find_element(By.ID, "filter").send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
    wait(page, lambda: len(rows(page, "tenants")) == 4)


def test_pause(page: Chrome, harness: DashboardHarness) -> None:
    """Paused, the page stands still and sends no request; resumed, it shows the present state."""
    dashboard = harness.gateway.dashboard
    assert isinstance(dashboard, Dashboard)
    page.find_element(By.ID, "pause").send_keys(Keys.ENTER)
    wait(page, lambda: text(page, "link").startswith("paused at"))
    wait(page, lambda: dashboard.viewers.present == 0)
    before = text(page, "n-answered")
    harness.edit("abroad", size="9999x9999")

    assert page.find_element(By.ID, "pause").get_attribute("aria-pressed") == "true"
    assert text(page, "n-answered") == before
    page.find_element(By.ID, "pause").send_keys(Keys.SPACE)
    wait(page, lambda: text(page, "n-answered") != before)
    assert text(page, "link") == "live"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(page: Chrome, harness: DashboardHarness, scheme: str) -> None:
    """Light and dark follow the system, and texts stand out as WCAG AA asks."""
    harness.edit("studio")
    wait(page, lambda: text(page, "alert"))
    media(page, prefers_color_scheme=scheme)

    for selector in ("h1", "#version", ".tiles dt", ".alert", ".keys b", ".legend", "#pause"):
        assert contrast(page, selector) >= 4.5, selector
    script = "return getComputedStyle(document.body).backgroundColor"
    dark = page.execute_script(script) == "rgb(14, 19, 25)"
    assert dark == (scheme == "dark")


def test_reduced_motion(page: Chrome, harness: DashboardHarness) -> None:
    """Whoever wants no motion gets none."""
    harness.edit("acme")
    wait(page, lambda: len(rows(page, "running")) >= 1)
    script = """
      return getComputedStyle(document.querySelector("#running .bar i:last-child")).animationName;
    """
    assert page.execute_script(script) == "breathe"

    media(page, prefers_reduced_motion="reduce")

    assert page.execute_script(script) == "none"


def test_landmarks(page: Chrome, harness: DashboardHarness) -> None:
    """Assistive technology finds its way: landmarks, one h1, named parts, few live regions."""
    script = """
      const names = (selector) => [...document.querySelectorAll(selector)];
      return {
        landmarks: ["header", "main", "footer"].map((it) => names(`body > ${it}`).length),
        h1: names("h1").length,
        unnamed: names("section").filter(
          (it) => !document.getElementById(it.getAttribute("aria-labelledby"))).length,
        live: names("[aria-live], [role=status], [role=alert]").length,
        language: document.documentElement.lang,
      };
    """

    assert page.execute_script(script) == {
        "landmarks": [1, 1, 1],
        "h1": 1,
        "unnamed": 0,
        "live": 2,
        "language": "en",
    }


def test_on_a_phone(page: Chrome, harness: DashboardHarness) -> None:
    """Nothing sticks out sideways of a narrow screen."""
    harness.edit("acme")
    wait(page, lambda: len(rows(page, "running")) >= 1)
    values = {"width": 375, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)
    try:
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 375
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_connection_is_lost(browser: Chrome) -> None:
    """A lost gateway is reported beside the last state; the page reconnects by itself."""
    with start_dashboard_harness({"on": True}) as short:
        page = open_page(browser, short.url)
        short.turn_away()
        wait(page, lambda: text(page, "link") == "The gateway stops; trying again")
        assert page.find_element(By.ID, "state").get_attribute("data-stale") is not None
        assert len(rows(page, "tenants")) == 4
    wait(page, lambda: text(page, "link") == "Connection lost, trying again")


def test_draining(browser: Chrome) -> None:
    """While the gateway drains the page stays and says so."""
    with start_dashboard_harness({"on": True}) as short:
        page = open_page(browser, short.url)
        short.drain()

        wait(page, lambda: text(page, "link") == "live; draining: no new edits")


def test_the_form(browser: Chrome) -> None:
    """With a token set the page asks for it, refuses a wrong one, and keeps the right one."""
    with start_dashboard_harness({"on": True, "token": "env:TOKEN"}) as harness:
        browser.get(f"{harness.url}/dashboard")
        field = browser.find_element(By.ID, "token")
        wait(browser, lambda: browser.switch_to.active_element == field)
        field.send_keys("not-the-token", Keys.ENTER)
        wait(browser, lambda: text(browser, "message") == "That is not the token.")
        browser.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
        wait(browser, lambda: browser.find_elements(By.ID, "link"))
        wait(browser, lambda: text(browser, "link") == "live")
        (cookie,) = browser.get_cookies()

        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert TOKEN not in cookie["value"]
        assert TOKEN not in browser.page_source
        browser.delete_all_cookies()
        harness.turn_away()
        wait(browser, lambda: browser.find_elements(By.ID, "token"))


def test_off(browser: Chrome) -> None:
    """Switched off there is no page."""
    with start_dashboard_harness({"on": False}) as harness:
        browser.get(f"{harness.url}/dashboard")

        assert "Invalid URL (GET /dashboard)" in browser.page_source
