"""What a person reads off the dashboard: texts, rows, bars, contrast, the console."""

from collections.abc import Callable

from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.chromium import media


def open_page(driver: Chrome, url: str) -> Chrome:
    media(driver, prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    driver.get(f"{url}/dashboard")
    wait(driver, lambda: text(driver, "link").startswith("live"))
    return driver


def wait(driver: Chrome, question: Callable[[], object]) -> None:
    """Ask until it is so; a page that goes away in the middle of a question has not answered."""
    leaving = (StaleElementReferenceException, JavascriptException)
    patient = WebDriverWait(driver, 90, poll_frequency=0.1, ignored_exceptions=leaving)
    patient.until(lambda _: question())


def text(driver: Chrome, element: str) -> str:
    """What an element shows, looked up and read in one step; nothing where there is none."""
    script = "return document.getElementById(arguments[0])?.innerText ?? ''"
    return str(driver.execute_script(script, element))


def rows(driver: Chrome, table: str) -> list[str]:
    """The texts of a table's rows, each on one line, all of one moment."""
    script = """
      const found = document.querySelectorAll(`#${arguments[0]} .row:not(.head)`);
      return [...found].map((row) => row.innerText.split(/\\s+/).join(" ").trim());
    """
    return list(driver.execute_script(script, table))


def complaints(driver: Chrome) -> list[str]:
    """What the console holds since the last call; a test that breaks a connection expects some."""
    return [entry["message"] for entry in driver.get_log("browser")]  # type: ignore[no-untyped-call]  # untyped there


def width_of_last_bar(driver: Chrome, table: str) -> float:
    """Pixels of the part that goes on, in the youngest row."""
    script = """
      const bars = document.querySelectorAll(`#${arguments[0]} .bar`);
      return bars[bars.length - 1].lastElementChild.getBoundingClientRect().width;
    """
    return float(driver.execute_script(script, table))


def contrast(driver: Chrome, selector: str) -> float:
    """The contrast of an element's text with what it lies on, as WCAG counts it."""
    script = """
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => {
        const part = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
      };
      const element = document.querySelector(arguments[0]);
      let below = element;
      while (parse(getComputedStyle(below).backgroundColor)[3] === 0) below = below.parentElement;
      const both = [getComputedStyle(element).color, getComputedStyle(below).backgroundColor];
      const [high, low] = both.map((it) => light(parse(it))).sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    """
    return float(driver.execute_script(script, selector))
