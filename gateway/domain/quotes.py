"""Removes a client's prompt from upstream's error texts, so that it reaches no log or ledger."""

import html
import re
import unicodedata
from collections.abc import Collection, Iterator
from urllib.parse import unquote

from gateway.domain.errors import GatewayError

QUOTED = "[prompt]"
WITHHELD = "[withheld]"
_SHORTEST = 16
_SHORTEST_WIDE = 6  # letters in a row that are not a coincidence; fewer in Chinese
_WIDE = "\u2e80"  # from here on a letter is a word or a syllable
# How a text may be spelt in another: as JSON, HTML or in a URL escape it.
_SPELT = re.compile(
    r"\\u[0-9a-fA-F]{4}|\\[nrtbf]|&#?[0-9A-Za-z]{1,8};|(?:%[0-9A-Fa-f]{2})+|.", re.DOTALL
)
_IN_QUOTES = re.compile(r"(?P<q>[\"'`])(.+?)(?P=q)|[“‘「『《](.+?)[”’」』》]", re.DOTALL)

_Letter = tuple[str, int, int]
"""A letter or digit, and from where to where it is spelt in the text."""


def redact_prompt(error: GatewayError, texts: Collection[str]) -> None:
    """
    Remove from *error* what upstream quotes of the client's *texts*, also in pieces.

    Args:
        error: Changed in place.
        texts: Prompts; if they are no longer known, empty, and all of upstream's text is
            withheld.
    """
    if error.upstream_text:
        cleaned = _cleaned(error.upstream_text, texts)
        error.message = error.message.replace(error.upstream_text, cleaned)
        error.args = (error.message,)
        error.upstream_text = cleaned
    if error.upstream_message:
        error.upstream_message = _cleaned(error.upstream_message, texts)


def _cleaned(quoting: str, texts: Collection[str]) -> str:
    if not texts:
        return WITHHELD
    letters = list(_letters(quoting))
    theirs = "".join(letter for letter, _, _ in letters)
    hidden: set[int] = set()
    for text in texts:
        ours = "".join(letter for letter, _, _ in _letters(text))
        hidden |= _runs(theirs, ours) | _whole(quoting, letters, theirs, ours)
        hidden |= _in_quotes(quoting, letters, theirs, ours)
    return _without(quoting, letters, hidden)


def _letters(text: str) -> Iterator[_Letter]:
    """Yield the letters of *text* in one spelling: without case, accents, signs and escapes."""
    for spelt in _SPELT.finditer(text):
        for letter in unicodedata.normalize("NFKD", _meant(spelt.group())).casefold():
            if letter.isalnum():
                yield letter, spelt.start(), spelt.end()


def _meant(spelt: str) -> str:
    match spelt[0]:
        case "\\" if len(spelt) == 6:
            return chr(int(spelt[2:], 16))  # noqa: FURB166 - its prefix is JSON's
        case "\\" if len(spelt) > 1:
            return " "
        case "%" if len(spelt) > 1:
            return unquote(spelt)
        case "&":
            return html.unescape(spelt)
        case _:
            return spelt


def _runs(theirs: str, ours: str) -> set[int]:
    """Return which letters stand in a run of *ours* that is too long to be an accident."""
    long = _SHORTEST_WIDE if sum(letter >= _WIDE for letter in ours) * 2 > len(ours) else _SHORTEST
    pieces = {ours[at : at + long] for at in range(len(ours) - long + 1)}
    starts = (at for at in range(len(theirs) - long + 1) if theirs[at : at + long] in pieces)
    return {at + further for at in starts for further in range(long)}


def _whole(quoting: str, letters: list[_Letter], theirs: str, ours: str) -> set[int]:
    """Return the letters of a short text that stands in *quoting* as words of its own."""
    found: set[int] = set()
    at = theirs.find(ours) if len(ours) > 1 else -1
    while at >= 0:
        start = letters[at][1]
        end = letters[at + len(ours) - 1][2]
        if not (quoting[:start][-1:].isalnum() or quoting[end:][:1].isalnum()):
            found |= set(range(at, at + len(ours)))
        at = theirs.find(ours, at + 1)
    return found


def _in_quotes(quoting: str, letters: list[_Letter], theirs: str, ours: str) -> set[int]:
    """Return the letters of what *quoting* has in quotes and *ours* holds, however short."""
    found: set[int] = set()
    for quoted in _IN_QUOTES.finditer(quoting):
        inside = {
            at for at, (_, start, _) in enumerate(letters) if quoted.start() < start < quoted.end()
        }
        if inside and theirs[min(inside) : max(inside) + 1] in ours:
            found |= inside
    return found


def _without(quoting: str, letters: list[_Letter], hidden: set[int]) -> str:
    """Return *quoting* with one mark in place of each run of *hidden* letters."""
    kept = []
    copied = 0
    for at in sorted(hidden):
        if at - 1 not in hidden:
            kept.append(quoting[copied : max(copied, letters[at][1])])
            kept.append(QUOTED)
        copied = letters[at][2]
    return "".join([*kept, quoting[copied:]])
