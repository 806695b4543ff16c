"""gateway.imaging.workers."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.domain.edit import MaskSource, OutputOptions, Picture, Size
from gateway.domain.errors import InvalidImage, Overloaded, ResultUnavailable
from gateway.domain.tenant import MetadataRule, Tenant
from gateway.imaging import jpeg
from gateway.imaging import workers as module
from gateway.imaging.inspect import Inspected
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import DecodeLimits, Imaging
from tests.imaging.pictures import AS_IS, FITS, INPUTS, drawn, mask, read, saved, sent
from tests.models import MODELS

pytestmark = pytest.mark.anyio

CLAIM = SlotClaim("acme")
LARGE = read("rgb.bmp")
"""Never read on the loop."""


@pytest.fixture
async def imaging() -> AsyncIterator[Imaging]:
    result = Imaging()
    yield result
    await result.close()


class HeldVerify:
    """Stands in for verify: holds each thread until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = threading.Semaphore(0)
        self.names: list[str] = []

    def __call__(self, content: bytes, inspected: Inspected) -> None:
        self.names.append(threading.current_thread().name)
        self.inside.release()
        assert self.open.wait(60)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.inside.acquire, timeout=60)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> HeldVerify:
    result = HeldVerify()
    monkeypatch.setattr(module, "verify", result)
    return result


async def test_what_fits_passes_on(imaging: Imaging) -> None:
    """Pictures that fit come back in order, byte for byte the same objects."""
    contents = [read("plain.jpg"), read("rgb.png"), LARGE]

    checked = await imaging.check(sent(*contents), FITS, INPUTS)

    assert checked == (
        Picture(content=contents[0], media_type="image/jpeg", size=Size(480, 400)),
        Picture(content=contents[1], media_type="image/png", size=Size(480, 400)),
        Picture(content=contents[2], media_type="image/bmp", size=Size(384, 384)),
    )
    assert all(result.content is sent for result, sent in zip(checked, contents, strict=True))


async def test_what_does_not_fit_is_brought_into_the_rules(imaging: Imaging) -> None:
    """With fit a picture is changed, and what was done is told beside it."""
    checked = await imaging.check(sent(read("plain.jpg"), read("small.jpg")), FITS, INPUTS)

    assert [picture.adjusted for picture in checked] == [(), ("scaled:300x200->576x384",)]
    assert checked[1].size == Size(576, 384)
    assert checked[1].media_type == "image/jpeg"


async def test_an_url_goes_on_unread(imaging: Imaging) -> None:
    """A picture by URL is not touched, and counts when another is at fault."""
    by_url = Picture(url="https://pictures.example/cat.jpg")

    checked = await imaging.check([by_url], FITS, INPUTS)

    assert checked == (by_url,)
    with pytest.raises(InvalidImage, match="for image 2,"):
        await imaging.check([by_url, *sent(b"")], FITS, INPUTS)


async def test_without_fit_only_metadata_goes(imaging: Imaging) -> None:
    """Without fit a legal picture loses its metadata and nothing else; a plain one is untouched."""
    content, plain = read("exif_gps.jpg"), read("plain.jpg")

    checked = await imaging.check(sent(content, plain), AS_IS, INPUTS)

    assert checked[0].content == jpeg.strip_metadata(content) != content
    assert checked[1].content is plain
    assert [picture.adjusted for picture in checked] == [("metadata_removed",), ()]


@pytest.mark.parametrize("tenant", [FITS, AS_IS], ids=["fit", "as it is"])
async def test_metadata_that_is_kept(imaging: Imaging, tenant: Tenant) -> None:
    """A tenant that keeps metadata has its legal pictures sent on byte for byte."""
    content = read("exif_gps.jpg")

    checked = await imaging.check(
        sent(content), replace(tenant, metadata=MetadataRule.KEEP), INPUTS
    )

    assert checked[0].content is content
    assert checked[0].adjusted == ()


async def test_sides_are_those_of_the_model(imaging: Imaging) -> None:
    """A picture of 300x200 is scaled up for one model, less for another, and refused in words."""
    small, inputs = read("small.jpg"), MODELS["wan2.6-image"].inputs

    checked = await imaging.check(sent(small), FITS, inputs)
    with pytest.raises(InvalidImage, match="at least 240 pixels wide and high"):
        await imaging.check(sent(small), AS_IS, inputs)

    assert checked[0].adjusted == ("scaled:300x200->360x240",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("rgba.png", "it must have no transparency (alpha channel)", id="alpha"),
        pytest.param("small.jpg", "it must be at least 384 pixels wide and high", id="too small"),
        pytest.param(
            "exif_6.avif",
            "it must be JPEG, PNG, BMP or WEBP, "
            "and must be stored upright, not turned by Exif orientation",
            id="two rules",
        ),
        pytest.param("truncated.jpg", "it is damaged or cut short", id="cut short"),
    ],
)
async def test_without_fit_the_rule_is_named(imaging: Imaging, name: str, reason: str) -> None:
    """Without fit a picture is refused with its number and the rules it breaks."""
    with pytest.raises(InvalidImage) as caught:
        await imaging.check(sent(read("plain.jpg"), read(name)), AS_IS, INPUTS)

    assert caught.value.message == (
        f"Invalid image file or mode for image 2, please check your image file: {reason}."
    )
    assert caught.value.param == "image"


@pytest.mark.parametrize(
    "name",
    ["truncated.jpg", "truncated.png", "truncated.gif", "corrupt.png", "bomb.png", "text.png"],
)
async def test_with_fit_damage_is_found(imaging: Imaging, name: str) -> None:
    """Whether it would pass on or be re-encoded, a damaged picture is refused by number."""
    with pytest.raises(InvalidImage, match=r"^Invalid image file or mode for image 1, please"):
        await imaging.check(sent(read(name)), FITS, INPUTS)


async def test_a_light_jpeg_is_checked_on_the_loop(imaging: Imaging, gate: HeldVerify) -> None:
    """A small plain JPEG costs less than asking a thread; others are not decoded there."""
    gate.open.set()

    await imaging.check(sent(read("plain.jpg"), read("progressive.jpg"), LARGE), FITS, INPUTS)

    assert gate.names[0] == threading.current_thread().name
    assert all(name.startswith("imaging") for name in gate.names[1:])


async def test_a_light_jpeg_of_many_pixels_is_not_checked_on_the_loop(
    imaging: Imaging, gate: HeldVerify
) -> None:
    """Few bytes may be many pixels."""
    gate.open.set()

    await imaging.check(sent(saved(drawn(2000, 2000), "JPEG")), FITS, INPUTS)

    assert gate.names[0].startswith("imaging")


async def test_no_more_than_so_many_threads_at_once(gate: HeldVerify) -> None:
    """A third picture waits until one of two threads is free."""
    imaging = Imaging(DecodeLimits(threads=2))

    async with asyncio.TaskGroup() as group:
        call = [group.create_task(imaging.check(sent(LARGE), FITS, INPUTS)) for _ in range(3)]
        await gate.entered()
        await gate.entered()
        inside = len(gate.names)
        gate.open.set()

    await imaging.close()
    assert inside == 2
    assert all(task.result()[0].adjusted == () for task in call)


async def test_a_crowd_waits(gate: HeldVerify) -> None:
    """However many wait for a thread, none is refused; they go on in the order of their claims."""
    imaging = Imaging(DecodeLimits(threads=1))
    ended: list[int] = []

    async def check(number: int) -> None:
        claim = SlotClaim(FITS.name, until=None, since=float(number))
        await imaging.check(sent(LARGE), FITS, INPUTS, claim)
        ended.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(300):
            group.create_task(check(number))
        await gate.entered()
        gate.open.set()

    await imaging.close()
    assert ended == list(range(300))


async def test_patience_in_line_ends(gate: HeldVerify) -> None:
    """Who waits for a thread longer than its own patience is refused, to be repeated."""
    imaging = Imaging(DecodeLimits(threads=1))

    async with asyncio.TaskGroup() as group:
        group.create_task(imaging.check(sent(LARGE), FITS, INPUTS))
        await gate.entered()
        waiting = group.create_task(
            imaging.check(sent(LARGE), FITS, INPUTS, SlotClaim.of(FITS.name, 3600.0))
        )
        with pytest.raises(Overloaded, match="too slowly"):
            await imaging.check(sent(LARGE), FITS, INPUTS, SlotClaim.of(FITS.name, 0.0))
        waits = not waiting.done()
        gate.open.set()

    await imaging.close()
    assert waits
    assert waiting.result()[0].adjusted == ()


async def test_a_decode_that_takes_too_long_is_given_up(gate: HeldVerify) -> None:
    """It is refused by number; its thread counts as taken until it really ends."""
    imaging = Imaging(DecodeLimits(threads=1))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(imaging.check(sent(LARGE), FITS, INPUTS))
        await gate.entered()
        first.cancel()
    imaging._limits = DecodeLimits(threads=1, decode=0.0)
    other = replace(FITS, name="other")

    with pytest.raises(InvalidImage, match=r"image 1, .* it takes too long to decode"):
        await imaging.check(sent(LARGE), other, INPUTS)
    with pytest.raises(Overloaded):
        await imaging.check(sent(LARGE), FITS, INPUTS, SlotClaim.of(FITS.name, 0.0))
    gate.open.set()
    imaging._limits = DecodeLimits(threads=1, decode=600.0)

    await imaging.check(sent(LARGE), FITS, INPUTS)
    await imaging.close()


async def test_a_process_that_was_stopped_blames_no_picture(
    gate: HeldVerify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour in which the process stood still is no hour of decoding."""
    imaging = Imaging(DecodeLimits(threads=1, decode=600.0))
    loop = asyncio.get_running_loop()
    now, stopped = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: now() + stopped)
    async with asyncio.TaskGroup() as group:
        checked = group.create_task(imaging.check(sent(LARGE), FITS, INPUTS))
        await gate.entered()
        stopped = 3600.0
        for _ in range(20):
            await asyncio.sleep(0)
        gate.open.set()
    await imaging.close()

    assert checked.result()[0].adjusted == ()


async def test_who_leaves_frees_no_thread_too_early(gate: HeldVerify) -> None:
    """A client who leaves while a thread works: it is free once the work ends."""
    imaging = Imaging(DecodeLimits(threads=1))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(imaging.check(sent(LARGE), FITS, INPUTS))
        await gate.entered()
        task.cancel()
    taken = imaging._slots.busy
    gate.open.set()

    await imaging.check(sent(LARGE), FITS, INPUTS)
    await imaging.close()
    assert task.cancelled()
    assert taken


async def test_the_way_out(imaging: Imaging) -> None:
    """Masks are checked and pictures finished in threads, too."""
    kept = MaskSource(read("rgb.png"), saved(mask((480, 400), (30, 30, 99, 99))))
    result = saved(drawn(480, 400))

    size = await imaging.check_mask(kept, CLAIM)
    mixed = await imaging.finish(result, OutputOptions(composite=True), kept, "acme")
    untouched = await imaging.finish(result, OutputOptions(scale_to=Size(480, 400)), None, "acme")

    assert size == Size(480, 400)
    assert mixed.startswith(b"\x89PNG")
    assert mixed != result
    assert untouched is result


async def test_what_is_paid_for_is_never_refused(gate: HeldVerify) -> None:
    """A picture that came home waits for a thread though the line is full and patience short."""
    imaging = Imaging(DecodeLimits(threads=1))

    async with asyncio.TaskGroup() as group:
        group.create_task(imaging.check(sent(LARGE), FITS, INPUTS))
        await gate.entered()
        imaging._limits = DecodeLimits(threads=1, decode=0.0)
        form = OutputOptions(output_format="webp")
        result = group.create_task(imaging.finish(read("rgb.png"), form, None, "acme"))
        await asyncio.sleep(0.05)
        waits = not result.done()
        gate.open.set()

    await imaging.close()
    assert waits
    assert result.result().startswith(b"RIFF")


REST = b"\0\0\0\x18ftypmp42 where it was taken"


@pytest.mark.parametrize("tenant", [FITS, AS_IS], ids=["fit", "as it is"])
@pytest.mark.parametrize("rule", list(MetadataRule))
@pytest.mark.parametrize("name", ["plain.jpg", "exif_gps.jpg", "rgb.png", "lossy.webp", "rgb.bmp"])
async def test_nothing_behind_the_end_goes_up(
    imaging: Imaging, name: str, rule: MetadataRule, tenant: Tenant
) -> None:
    """A film or the rest of a screenshot stays here, whatever else is in the file."""
    content = read(name)
    inputs = replace(INPUTS, shortest_side=300)

    (whole,) = await imaging.check(sent(content), replace(tenant, metadata=rule), inputs)
    (checked,) = await imaging.check(sent(content + REST), replace(tenant, metadata=rule), inputs)

    assert checked == replace(whole, adjusted=("rest_removed", *whole.adjusted))


async def test_what_is_reencode_leaves_it_behind_too(imaging: Imaging) -> None:
    """And says so."""
    checked = await imaging.check(sent(read("small.jpg") + REST), FITS, INPUTS)

    assert checked[0].adjusted == ("scaled:300x200->576x384", "rest_removed")
    assert REST not in checked[0].content


def webp_of(side: int) -> bytes:
    """A lossless WEBP that says that it has so many pixels a side, and has 38 bytes."""
    bits = (side - 1) | (side - 1) << 14
    data = b"\x2f" + bits.to_bytes(4, "little") + bytes(13)
    head = b"WEBPVP8L" + len(data).to_bytes(4, "little")
    return b"RIFF" + (len(head) + len(data)).to_bytes(4, "little") + head + data


@pytest.mark.parametrize("tenant", [FITS, AS_IS], ids=["fit", "as it is"])
async def test_few_bytes_that_are_many_pixels(imaging: Imaging, tenant: Tenant) -> None:
    """A file of 38 bytes is refused by its head, before room is made for its pixels."""
    with pytest.raises(InvalidImage, match=r"10000x10000 is more than a WEBP|at most 5000 pixels"):
        await imaging.check(sent(webp_of(10_000)), tenant, INPUTS)


async def test_a_png_of_many_pixels_in_few_bytes_is_not_decoded(imaging: Imaging) -> None:
    """One that goes up as it is has its checksums compared, however small it is packed."""
    content = saved(drawn(5000, 5000, 0, "1").convert("RGB"), "PNG")
    assert len(content) < 131_072

    checked = await imaging.check(sent(content), FITS, INPUTS)

    assert checked[0].content is content


@pytest.mark.parametrize(
    ("name", "clear"), [("rgba.png", True), ("rgb.png", False), ("plain.jpg", False)]
)
async def test_clear_parts_are_looked_for(imaging: Imaging, name: str, clear: bool) -> None:
    """A picture without an alpha channel is not decoded for it."""
    assert await imaging.has_clear_parts(read(name), CLAIM) is clear


async def test_a_result_that_is_as_asked_for_takes_no_turn(gate: HeldVerify) -> None:
    """It passes while all threads are taken; one of another size or form does not."""
    imaging = Imaging(DecodeLimits(threads=1))
    content = read("rgb.png")
    await imaging._slots.take(SlotClaim("acme"), 0)

    passed = await imaging.finish(content, OutputOptions(scale_to=Size(480, 400)), None, "acme")

    assert passed is content
    assert imaging.is_finished(content[:32], OutputOptions(scale_to=Size(480, 400)))
    assert not imaging.is_finished(content[:32], OutputOptions(scale_to=Size(481, 400)))
    assert not imaging.is_finished(read("plain.jpg")[:32], OutputOptions())
    await imaging.close()


@pytest.mark.parametrize(
    ("name", "size", "alpha"),
    [
        pytest.param("rgba.png", Size(480, 400), True, id="rgba"),
        pytest.param("gray_alpha.png", Size(480, 400), True, id="gray and alpha"),
        pytest.param("rgb.png", Size(480, 400), False, id="rgb"),
        pytest.param("alpha.webp", None, False, id="another format"),
    ],
)
async def test_what_first_bytes_tell(
    imaging: Imaging, name: str, size: Size | None, alpha: bool
) -> None:
    """A PNG tells its size and its alpha channel at once."""
    head = read(name)[:32]

    assert imaging.has_alpha(head) is alpha
    assert not imaging.has_alpha(head[:20])
    if size is not None:
        assert imaging.size_of(head) == size


@pytest.mark.parametrize("name", ["plain.jpg", "lossy.webp"])
async def test_a_png_that_was_asked_for_is_one(imaging: Imaging, name: str) -> None:
    """Whatever form the upstream's picture has, the answer's is what its bytes are."""
    result = await imaging.finish(read(name), OutputOptions(), None, "acme")

    assert result.startswith(b"\x89PNG")


async def test_a_broken_result_is_the_upstreams(imaging: Imaging) -> None:
    """What cannot be read is told as such, not as a fault of the client's picture."""
    with pytest.raises(ResultUnavailable):
        await imaging.finish(b"<html>", OutputOptions(), None, "acme")


@pytest.mark.parametrize("name", ["corrupt.png", "head_only.jpg", "text.png"])
async def test_whose_fault_it_is(imaging: Imaging, name: str) -> None:
    """Whatever is wrong with a mask, a markup or a first picture, the refusal names which it is."""
    good, bad = read("rgb.png"), read(name)
    reported = []

    for work in (
        imaging.check_mask(MaskSource(good, bad), CLAIM),
        imaging.lay_over(good, bad, CLAIM),
        imaging.lay_over(bad, read("rgba.png"), CLAIM),
        imaging.check(sent(bad), FITS, INPUTS),
    ):
        with pytest.raises(InvalidImage) as caught:
            await work
        reported.append((caught.value.param, caught.value.message.partition(", please check")[0]))

    assert reported == [
        ("mask", "Invalid mask"),
        ("markup", "Invalid markup"),
        ("image", "Invalid image"),
        ("image", "Invalid image file or mode for image 1"),
    ]


async def test_a_first_picture_that_may_be_its_own_mask(imaging: Imaging) -> None:
    """A broken one is image 1, whoever finds it."""
    with pytest.raises(InvalidImage, match=r"^Invalid image file or mode for image 1, please"):
        await imaging.has_clear_parts(b"no picture", CLAIM)
