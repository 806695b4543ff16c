"""The content digest of an edit: equal for equal content in any encoding."""

import asyncio
import hashlib
import html
import unicodedata
from collections.abc import Mapping, Sequence

from blake3 import blake3

from gateway.domain.edit import Edit, OutputOptions, ResponseFormat, Size
from gateway.domain.models import Operation

_SLICE = 4 * 2**20  # takes about two milliseconds
_VERSION = "2:"
"""Before the 64 hex digits; a digest without one is of version 1."""


def mark_of(content: bytes, url: str = "") -> bytes:
    """Return what stands for a picture in a digest: of its bytes as sent, or of its URL."""
    return (b"u" if url else b"b") + blake3(url.encode() or content).digest()


async def mark_in_turns(content: bytes, url: str = "") -> bytes:
    """As mark_of; between the slices of a large picture others have a turn."""
    if url or len(content) <= _SLICE:
        return mark_of(content, url)
    whole = blake3()
    with memoryview(content) as view:
        for start in range(0, len(view), _SLICE):
            whole.update(view[start : start + _SLICE])
            await asyncio.sleep(0)
    return b"b" + whole.digest()


def digest_of(
    edit: Edit, operation: Operation, pictures: Sequence[bytes], others: Mapping[str, bytes]
) -> str:
    """
    Return the digest of what a client sent: the fields that decide the result, the pictures.

    Nothing in it depends on what this version, its libraries or its config make of a request:
    a picture counts as it was sent, the size as it was asked for, the model as it was named.
    Part order, boundaries, file names, encodings and ignored fields play no part.

    Args:
        edit: As edit_of returned it, before a mask changed it.
        operation: The path that it was sent to.
        pictures: The mark of each, in order.
        others: The marks of a mask and the like, by field.
    """
    answer = edit.output
    whole = blake3()
    for field in (
        operation,
        edit.model_asked,
        edit.prompt,
        edit.n,
        edit.negative_prompt,
        answer.scale_to or edit.size,
        edit.seed,
        edit.watermark,
        edit.prompt_extend,
        _requested_format(answer),
        answer.output_format,
        answer.compression,
    ):
        _add(whole, field)
    for name, text in edit.options:
        _add(whole, name)
        _add(whole, text)
    for mark in pictures:
        whole.update(mark)
    for name, mark in sorted(others.items()):
        _add(whole, name)
        whole.update(mark)
    return _VERSION + whole.hexdigest()


def first_digest(edit: Edit, pictures: Sequence[bytes], mask: bytes = b"") -> str:
    """
    Return the digest as version 1 made it, for edits that the ledger has of it.

    Args:
        edit: As it is submitted, changed by its mask.
        pictures: The mark of each, as it goes upstream.
        mask: Its mark.
    """
    answer = edit.output
    whole = blake3()
    for field in (
        edit.model,
        edit.prompt,
        edit.n,
        edit.negative_prompt,
        edit.size,
        edit.seed,
        edit.watermark,
        edit.prompt_extend,
        _requested_format(answer),
        answer.output_format,
        answer.compression,
        _scaled_to(edit),
    ):
        _add(whole, field)
    for mark in pictures:
        whole.update(mark)
    if mask:
        whole.update(b"m" + mask[1:])
    return whole.hexdigest()


def comparable(one: str, other: str) -> bool:
    """Return whether two digests are of one version, so that they differ if the content does."""
    return one.startswith(_VERSION) is other.startswith(_VERSION)


def _requested_format(answer: OutputOptions) -> ResponseFormat:
    """Return the format as requested: which is the default depends on the config."""
    return ResponseFormat.B64_JSON if answer.url_by_default else answer.response_format


def _scaled_to(edit: Edit) -> Size | None:
    """Return the size to scale to as version 1 had it: where it is not the size to be made."""
    answer = edit.output
    if answer.scale_to == edit.size and not answer.composite:
        return None
    return answer.scale_to


def _add(whole: blake3, field: object) -> None:
    content = b"" if field is None else str(field).encode()
    whole.update(b"%d:%d:" % (field is not None, len(content)))
    whole.update(content)


def prompt_digest(prompt: str) -> str:
    """
    Return 64 hex digits by which a task's ``orig_prompt`` is known as ours.

    The ledger keeps this instead of the prompt, so that no prompt lies on the disk.
    """
    return hashlib.sha256(prompt.strip().encode()).hexdigest()


def prompt_forms(prompt: str) -> str:
    """
    Return digests of what upstream may make of *prompt*: normalised otherwise, or cut.

    By these a prompt is known that is not equal but may be ours all the same.
    """
    cuts = (prompt[:length] for length in _CUTS if length < len(prompt))
    forms = filter(None, map(_letters, (prompt, *cuts)))
    return " ".join(hashlib.sha256(form.encode()).hexdigest()[:32] for form in forms)


def may_be(text: str, forms: str) -> bool:
    """Return whether *text* is one of the *forms* of a prompt, or has no letters to compare."""
    letters = _letters(text)
    return not letters or hashlib.sha256(letters.encode()).hexdigest()[:32] in forms.split()


def agrees_with(text: str | None, digest: str, forms: str) -> bool:
    """Return whether a task's ``orig_prompt``, if it has one, may be that prompt."""
    if not text or not forms:  # an older gateway kept no forms
        return True
    return prompt_digest(text) == digest or may_be(text, forms)


_CUTS = (500, 800, 2000)  # characters; DashScope's models cut there in silence


def _letters(text: str) -> str:
    """Return the letters and digits of *text* in one spelling, which no tidying changes."""
    folded = unicodedata.normalize("NFKC", html.unescape(text).encode("utf-8", "replace").decode())
    return "".join(filter(str.isalnum, folded.casefold()))
