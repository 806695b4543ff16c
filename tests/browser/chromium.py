"""Debian's Chromium without a screen, driven by selenium."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_ALONE = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """Open a browser with a fresh profile that talks to nobody by itself."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(BROWSER)
        for argument in (*_ALONE, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options, Service(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def media(driver: Chrome, **features: str) -> None:
    """Let the page see such media features: ``prefers_color_scheme="dark"``."""
    reported = [
        {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": reported})


def requested(driver: Chrome) -> list[str]:
    """Return the URL of every request since the last call."""
    urls: list[str] = []
    entries: list[dict[str, Any]] = driver.get_log("performance")  # type: ignore[no-untyped-call]  # untyped there
    for entry in entries:
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    return urls
