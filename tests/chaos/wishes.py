"""What clients want: an endless, seeded row of edits, each with the manner of its client."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw

REGION_BY_TENANT = {
    "acme": "beijing",
    "globex": "singapore",
    "initech": "beijing",
    "hooli": "beijing",
}
HELD = "initech"
"""
The tenant behind a proxy that holds on: it keeps its own connection to the gateway when its
client has left, and does not pass on that a request is a retry.
"""
ON_SHARED_ACCOUNT = "hooli"
"""The tenant whose account another program uses, too, with the very same prompts."""
_TEMPLATES = 4
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
    """Of `pictures`, or one of its own beyond them; a generation has none."""
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
    some moment after it), ``answering`` (in the middle of the answer), ``read`` (the line breaks
    once the answer's last byte has come) or ``draining`` (while the gateway drains).
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
        if wish.tenant == HELD:
            # Served once, it is over: a proxy that tells nobody of a retry could not join later.
            leave_after = dice.uniform(0.1, 0.8)
            yield replace(wish, leave="", leave_after=leave_after, timeout=60.0, key=None)
            continue
        if wish.tenant == ON_SHARED_ACCOUNT:
            yield _of_a_template(wish, number)
            continue
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


def _of_a_template(wish: Wish, number: int) -> Wish:
    """A prompt that others have, too, a picture that nobody else has; and its client stays."""
    prompt = template(number % _TEMPLATES)
    return replace(wish, prompt=prompt, picture=_PICTURES + number, leave="", back="")


def template(number: int) -> str:
    return f"Put a hat on it, by template {number % _TEMPLATES}"


def _leaving(dice: Random, wish: Wish) -> Wish:
    (leave,) = dice.choices(("reading", "waiting", "answering", "read"), (1, 8, 1, 3))
    (back,) = dice.choices(("marked", "pressed", "gone"), (3, 3, 2))
    # What was handed to the socket counts as delivered (P2), so one who hangs up
    # in the middle of the answer and asks again without a mark asks for a second edit.
    back = {"answering": "gone", "read": "marked"}.get(leave, back)
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


def picture(wish: Wish) -> bytes:
    shared = pictures()
    return shared[wish.picture] if wish.picture < _PICTURES else _picture(wish.picture)


def picture_sha256(wish: Wish) -> str:
    """Return the digest of the wish's picture; empty for a generation."""
    return "" if wish.model == GENERATION else sha256(picture(wish)).hexdigest()


def prompt_sha256(wish: Wish) -> str:
    return sha256(wish.prompt.encode()).hexdigest()


def _picture(number: int) -> bytes:
    low, high = number % _PICTURES, number // _PICTURES
    image = Image.new("RGB", (400, 400), (12 * low, 90, 255 - 12 * low))
    ImageDraw.Draw(image).ellipse((40, 40, 360, 360), fill=(200, 12 * low, 60))
    ImageDraw.Draw(image).point([(bit, 0) for bit in range(16) if high >> bit & 1], "white")
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
