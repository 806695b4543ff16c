"""What customers want: an endless, seeded row of edits, each with the manner of its customer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw

REGION_BY_TENANT = {"acme": "beijing", "globex": "singapore"}
EDIT, GENERATION, AT_ONCE = "gpt-image-1", "wan2.5-t2i-preview", "qwen-image-edit-plus"
"""Models: an edit, a generation, and an edit without a task behind it."""
_PICTURES = 16


@dataclass(frozen=True, slots=True)
class Wish:
    """One edit that somebody wants once; equal content in two wishes is wanted twice."""

    name: str
    tenant: str
    prompt: str
    picture: int
    """Of `pictures`; a generation has none."""
    timeout: float
    """Of the SDK, in seconds."""
    retries: int
    """By the SDK itself, before a person presses the button again."""
    model: str = EDIT
    key: str | None = None
    """Its Idempotency-Key."""
    leave: str = ""
    """
    In which way the first call is left: ``reading`` (half of the body is sent), ``waiting`` (at
    some moment after it) or ``answering`` (in the middle of the answer).
    """
    leave_after: float = 0.0
    """Seconds."""
    back: str = ""
    """After leaving: ``marked`` (as a retry), ``pressed`` (as a new call) or ``gone`` for good."""
    back_after: float = 0.0
    """Seconds."""


def wishes(seed: str) -> Iterator[Wish]:
    """
    Give wishes for ever, the same for the same *seed*.

    One in ten comes with a twin of equal content, one in twenty with a twin of equal prompt
    and another picture; the twins come one behind the other, so they run at the same time.
    """
    dice = Random(seed)
    number = 0
    while True:
        number += 1
        wish = _wish(dice, f"{seed}-{number}")
        kind = dice.random()
        if kind >= 0.15:
            yield _of_another_model(dice, wish)
            continue
        # Nobody of a pair goes for good: whose task is left over could not be told.
        wish = replace(wish, key=None, back="marked" if wish.back == "gone" else wish.back)
        other = wish.picture if kind < 0.1 else (wish.picture + 1) % _PICTURES
        yield replace(wish, name=f"{wish.name}a", leave="")
        yield replace(wish, name=f"{wish.name}b", leave="", picture=other)


def _wish(dice: Random, name: str) -> Wish:
    wish = Wish(
        name=name,
        tenant=dice.choice(sorted(REGION_BY_TENANT)),
        prompt=f"Put a hat on it, number {name}",
        picture=dice.randrange(_PICTURES),
        timeout=60.0 if dice.random() < 0.5 else dice.uniform(2.0, 5.0),
        retries=dice.randint(2, 5),
        key=f"key-{name}" if dice.random() < 0.2 else None,
    )
    return _leaving(dice, wish) if dice.random() < 0.25 else wish


def _of_another_model(dice: Random, wish: Wish) -> Wish:
    """Let one in seven be a generation, one in seven an edit without a task."""
    model = dice.choice((EDIT,) * 5 + (GENERATION, AT_ONCE))
    if model == AT_ONCE and wish.leave:
        # Whether there is anything to have after it was killed is told to who comes back.
        back = "marked" if wish.back == "gone" else wish.back
        wish = replace(wish, leave="waiting", back=back)
    return replace(wish, model=model)


def _leaving(dice: Random, wish: Wish) -> Wish:
    (leave,) = dice.choices(("reading", "waiting", "answering"), (1, 8, 1))
    (back,) = dice.choices(("marked", "pressed", "gone"), (3, 3, 2))
    # What was handed to the socket counts as delivered (product.md P2), so one who hangs up
    # in the middle of the answer and asks again asks for a second edit.
    back = "gone" if leave == "answering" else back
    return replace(
        wish,
        leave=leave,
        leave_after=dice.choice((dice.uniform(0.0, 0.3), dice.uniform(0.3, 7.0))),
        back=back,
        back_after=dice.choice((dice.uniform(0.3, 1.5), dice.uniform(1.5, 10.0))),
    )


@cache
def pictures() -> tuple[bytes, ...]:
    """Make small PNGs that the gateway passes on byte for byte."""
    return tuple(_picture(number) for number in range(_PICTURES))


def picture_sha256(wish: Wish) -> str:
    """Return the digest of the wish's picture; empty for a generation."""
    return "" if wish.model == GENERATION else sha256(pictures()[wish.picture]).hexdigest()


def prompt_sha256(wish: Wish) -> str:
    return sha256(wish.prompt.encode()).hexdigest()


def _picture(number: int) -> bytes:
    image = Image.new("RGB", (400, 400), (12 * number, 90, 255 - 12 * number))
    ImageDraw.Draw(image).ellipse((40, 40, 360, 360), fill=(200, 12 * number, 60))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
