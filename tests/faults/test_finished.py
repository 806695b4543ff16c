"""Sizes, formats and masks through the whole app; the region really makes the pictures."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest
from PIL import Image, ImageChops

from gateway.sandbox import Constant, SandboxConfig, create_sandbox, running
from tests.faults.processes import config, serving
from tests.harness import KEY, Harness, eventually, photo, pictures_of, start_harness
from tests.ports import free_port

pytestmark = pytest.mark.anyio

REGION = SandboxConfig(latency=Constant(1.0))
"""A region that makes each picture from the one it was sent."""
HOLE = (100, 120, 300, 280)
FEATHER = 3
PROMPT = "invert the sign"


def opened(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as picture:
        picture.load()
        return picture


def saved(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def hole_in(size: tuple[int, int]) -> bytes:
    """A mask that is opaque but for HOLE."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), HOLE)
    return saved(mask)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with start_harness(REGION) as harness:
        yield harness


async def mask_edit(
    harness: Harness, original: bytes, mask: bytes, **fields: str
) -> httpx.Response:
    """POST an edit with a mask and without a size."""
    return await harness.http.post(
        "/v1/images/edits",
        data={"prompt": PROMPT, **fields},
        files={"image": ("a.png", original), "mask": ("m.png", mask)},
    )


def assert_kept(picture: Image.Image, original: Image.Image) -> None:
    """Outside the hole each pixel is the original's, deep inside the picture is another."""
    assert picture.size == original.size
    difference = ImageChops.difference(picture.convert("RGB"), original.convert("RGB"))
    left, top, right, bottom = HOLE
    inside = (left + FEATHER, top + FEATHER, right - FEATHER, bottom - FEATHER)
    assert _distance(picture, original, inside) > 30
    difference.paste((0, 0, 0), HOLE)
    assert difference.getbbox() is None


@pytest.mark.parametrize(
    "size",
    [pytest.param((1024, 768), id="legal"), pytest.param((400, 400), id="made-by-scaling")],
)
async def test_mask_composite(harness: Harness, size: tuple[int, int]) -> None:
    """The answer is as large as the original and equals it wherever the mask is opaque."""
    original = Image.effect_noise(size, 60).convert("RGB")

    answer = await mask_edit(harness, saved(original), hole_in(size))

    assert_kept(opened(pictures_of(answer)[0]), original)
    assert answer.json()["size"] == f"{size[0]}x{size[1]}"
    assert (await harness.books())["tasks_made"] == 1


async def test_a_turned_photograph(harness: Harness) -> None:
    """A phone's picture, stored lying with Exif: the mask lies on what a person sees."""
    upright = Image.effect_noise((768, 1024), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    file = BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)

    answer = await mask_edit(harness, file.getvalue(), hole_in((768, 1024)))

    assert_kept(opened(pictures_of(answer)[0]), upright)
    assert "1:rotated" in answer.headers["x-wan-adjusted"]


async def test_masked_jpegs(harness: Harness) -> None:
    """Several pictures, masked, as JPEG: each is what its bytes say."""
    answer = await mask_edit(harness, photo(), hole_in((400, 400)), n="5", output_format="jpeg")

    results = [opened(content) for content in pictures_of(answer)]
    assert [(picture.format, picture.size) for picture in results] == [("JPEG", (400, 400))] * 5
    assert answer.json()["output_format"] == "jpeg"


async def test_a_mask_of_another_size(harness: Harness) -> None:
    """Nothing is submitted for a mask that does not fit its picture."""
    answer = await mask_edit(harness, photo(), hole_in((512, 512)))

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (
        400,
        "invalid_image_file",
        "mask",
    )
    assert "it is 512x512, but the image is 400x400" in error["message"]
    assert (await harness.books())["tasks_made"] == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param("256x256", "768x768", id="256"),
        pytest.param("512x512", "768x768", id="512"),
        pytest.param("1792x1024", "1687x964", id="7-to-4"),
        pytest.param("2160x3840", "954x1696", id="largest"),
    ],
)
async def test_sizes_beyond_the_rule(harness: Harness, size: str, expected: str) -> None:
    """The answer has exactly the size that was asked for, and says how it came to be."""
    answer = await harness.edit(size=size)

    width, height = map(int, size.split("x"))
    assert opened(pictures_of(answer)[0]).size == (width, height)
    assert answer.json()["size"] == size
    assert answer.headers["x-wan-adjusted"] == f"size:{expected}->{size}"


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
async def test_formats(harness: Harness, output_format: str) -> None:
    """The bytes are of the format that the answer names; less compression quality is shorter."""
    picture = saved(Image.effect_noise((400, 400), 60))
    fine = await harness.edit(picture=picture, output_format=output_format)
    coarse = await harness.edit(
        picture=picture, output_format=output_format, output_compression="5"
    )

    (fine_bytes,), (coarse_bytes,) = pictures_of(fine), pictures_of(coarse)
    assert (opened(fine_bytes).format or "").lower() == output_format
    assert fine.json()["output_format"] == output_format
    assert fine.json()["size"] == "768x768"
    assert len(coarse_bytes) < len(fine_bytes)
    assert "x-wan-ignored-params" not in coarse.headers


async def test_png_is_dashscopes_own(harness: Harness) -> None:
    """A PNG of a size that DashScope makes goes through byte for byte."""
    answer = await harness.edit(output_format="png")

    assert b"sandbox-task" in pictures_of(answer)[0]


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_killed_between_end_and_delivery(tmp_path: Path) -> None:
    """The next process lays the picture into the original that the killed one kept."""
    original = Image.effect_noise((400, 400), 60).convert("RGB")
    async with (
        running(create_sandbox(REGION)) as region,
        httpx.AsyncClient(timeout=None, trust_env=False) as http,  # noqa: S113 - the gateway's
    ):
        file, port = config(tmp_path, region), free_port()
        edits = f"http://127.0.0.1:{port}/v1/images/edits"
        headers = {"authorization": f"Bearer {KEY}"}
        async with serving(file, port) as process:
            accepted = await http.post(
                edits,
                data={"prompt": PROMPT, "output_format": "webp", "output_compression": "100"},
                files={"image": ("a.png", saved(original)), "mask": hole_in((400, 400))},
                headers={**headers, "prefer": "respond-async"},
            )
            await _ended(http, f"http://127.0.0.1:{port}")

            async def written_down() -> bool:
                kept = tmp_path / "gateway.db.keep" / str(accepted.json()["id"])
                return kept.exists()

            await eventually(written_down)
            process.send_signal(SIGKILL)
            await process.wait()
        kept = list((tmp_path / "gateway.db.keep").iterdir())
        async with serving(file, port):
            answer = await _had(http, f"{edits}/{accepted.json()['id']}", headers)
            again = await http.get(f"{edits}/{accepted.json()['id']}", headers=headers)

        (picture,) = pictures_of(answer)
        result = opened(picture)
        assert [file.name for file in kept] == [accepted.json()["id"]]
        assert (result.format, result.size) == ("WEBP", (400, 400))
        # WEBP of the best quality still loses a little: the kept part is near, the hole is far.
        assert _distance(result, original, (0, 0, 400, 100)) < 12
        assert _distance(result, original, (150, 150, 250, 250)) > 30
        assert answer.json()["output_format"] == "webp"
        assert pictures_of(again) == [picture]
        assert (await http.get(f"{region}/_sandbox/books")).json()["tasks_made"] == 1


def _distance(one: Image.Image, other: Image.Image, box: tuple[int, int, int, int]) -> float:
    """The mean difference of a level in *box*."""
    difference = ImageChops.difference(one.convert("L"), other.convert("L")).crop(box)
    histogram = difference.histogram()
    return sum(level * count for level, count in enumerate(histogram)) / sum(histogram)


async def _ended(http: httpx.AsyncClient, gateway: str) -> None:
    """Wait until the gateway knows of a task that made its picture."""

    async def seen() -> bool:
        page = (await http.get(f"{gateway}/metrics")).text
        ends = [line for line in page.splitlines() if line.startswith("wan_gateway_tasks_total{")]
        return any('outcome="succeeded"' in line for line in ends)

    await eventually(seen)


async def _had(http: httpx.AsyncClient, address: str, headers: dict[str, str]) -> httpx.Response:
    """Ask for an edit until it has ended."""
    answers: list[httpx.Response] = []

    async def ended() -> bool:
        answers.append(await http.get(address, headers=headers))
        return answers[-1].status_code != 202

    await eventually(ended)
    return answers[-1]
