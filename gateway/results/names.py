"""
What a kept picture is called: the same name for the same picture, whoever asks for it.

A name is part of a URL that clients hand on, so it names no tenant. It is no secret: what opens
the picture is the signature beside it.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""By the ending of a name, which is the ``output_format`` of the request."""

_NAME = re.compile(
    r"(?P<owner>[0-9a-f]{16})-(?P<edit_id>[A-Za-z0-9_]{1,100})"
    r"-(?P<part>[0-9]{1,3})-(?P<index>[0-9]{1,3})\.(?P<ending>png|jpeg|webp)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ResultName:
    """``OWNER-EDIT_ID-PART-INDEX.ENDING``."""

    owner: str
    """16 hex digits that stand for the tenant; see owner_of."""
    edit_id: str
    part: int
    """Which task of the edit made it."""
    index: int
    """Which picture of that task it is."""
    ending: str
    """A key of MEDIA_TYPES."""

    def __str__(self) -> str:
        return f"{self.owner}-{self.edit_id}-{self.part}-{self.index}.{self.ending}"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.ending]


def owner_of(tenant: str) -> str:
    """Return what stands for the tenant of this name: it keeps tenants apart, no more."""
    return sha256(f"tenant:{tenant}".encode()).hexdigest()[:16]


def parse_name(text: str) -> ResultName | None:
    """
    Return the name that *text* spells, or ``None``.

    What has passed here has no slash, no dot but the one before its ending, and no other
    spelling, so that it can be used as the name of a file.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    name = ResultName(
        match["owner"], match["edit_id"], int(match["part"]), int(match["index"]), match["ending"]
    )
    return name if str(name) == text else None
