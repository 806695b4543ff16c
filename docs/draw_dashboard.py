#!/usr/bin/env python3
"""
Draw docs/dashboard-light.png and docs/dashboard-dark.png: the dashboard of a gateway under load.

``python docs/draw_dashboard.py``, from the repository's root, with the development
dependencies, and with Debian's chromium and chromium-driver. Tasks take 8 to 20 s.
"""

import sys
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from selenium.webdriver import Chrome  # noqa: E402 - the root of the repository comes first

from tests.browser.chromium import chromium, media  # noqa: E402 - the same
from tests.browser.harness import DashboardHarness, start_dashboard_harness  # noqa: E402 - the same

_WIDTH, _HEIGHT = 1240, 1260
_MOST_BYTES = 150_000


def _pictures() -> list[bytes]:
    """Return pieces of one photograph, so that each edit looks different."""
    with Image.open(ROOT / "gateway" / "commands" / "photo.jpg") as photo:
        step, side = photo.width // 6, min(photo.size) // 2
        boxes = [(x * step, y, x * step + side, y + side) for y in (0, side) for x in range(4)]
        return [_jpeg(photo.crop(box).resize((512, 512))) for box in boxes]


def _jpeg(picture: Image.Image) -> bytes:
    into = BytesIO()
    picture.convert("RGB").save(into, "JPEG", quality=90)
    return into.getvalue()


def _play(harness: DashboardHarness) -> None:
    """Let clients come for half a minute."""
    pictures = _pictures()
    plan = [(0.0, "studio"), (1.0, "abroad"), (1.0, "acme"), (1.0, "tiny"), (0.5, "acme")]
    plan += [(1.5, "tiny"), (0.5, "acme"), (1.0, "abroad"), (0.5, "acme"), (1.0, "tiny")]
    plan += [(0.5, "acme"), (3.0, "acme"), (2.0, "studio"), (1.0, "acme"), (2.0, "abroad")]
    plan += [(2.0, "acme"), (1.0, "acme"), (1.0, "tiny"), (1.0, "studio"), (1.5, "acme")]
    for number, (pause, tenant) in enumerate(plan):
        time.sleep(pause)  # noqa: TID251 - what is drawn is a real minute
        more = {"n": "2"} if tenant == "studio" else {}
        harness.edit(tenant, picture=pictures[number % len(pictures)], **more)
    harness.edit("abroad", size="9999x9999")
    time.sleep(4.0)  # noqa: TID251 - the same


def _save(driver: Chrome, scheme: str) -> None:
    media(driver, prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    time.sleep(1.0)  # noqa: TID251 - the browser paints
    file = ROOT / "docs" / f"dashboard-{scheme}.png"
    with Image.open(BytesIO(driver.get_screenshot_as_png())) as shot:
        shot.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < _MOST_BYTES


def main() -> None:
    shown = {"on": True, "thumbnails": True}
    with (
        start_dashboard_harness(shown, low=8.0, high=20.0, log={"level": "error"}) as harness,
        chromium(_WIDTH, _HEIGHT) as driver,
    ):
        driver.get(f"{harness.url}/dashboard")
        _play(harness)
        for scheme in ("light", "dark"):
            _save(driver, scheme)


if __name__ == "__main__":
    main()
