"""What the headers of an answer tell of its edit, whether it ended well or ill."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from gateway.domain.phases import Phase
from gateway.edits.request import EditResult, EditStatus

_SAFE = "!#$&'()*+./:;<=>?@[]^`{|}~"
_LONGEST_ID = 256


def edit_headers(told: EditStatus) -> dict[str, str]:
    """Return what is known of the edit; unknown values have no header."""
    known = {
        "x-wan-edit-id": told.edit_id,
        "x-wan-region": told.region,
        "x-wan-task-id": ", ".join(map(_escaped, told.task_ids)),
        "x-wan-upstream-request-id": ", ".join(map(_escaped, told.upstream_request_ids)),
    }
    return {name: value for name, value in known.items() if value}


def asked_headers(ignored: Sequence[str], adjusted: Sequence[str]) -> dict[str, str]:
    """Return what became of ignored fields and of the pictures that were sent."""
    headers = {}
    if ignored:
        headers["x-wan-ignored-params"] = ", ".join(map(_plain, ignored))
    if adjusted:
        headers["x-wan-adjusted"] = ", ".join(adjusted)
    return headers


def answer_headers(answer: EditResult) -> dict[str, str]:
    """Return all of these, and what became of the pictures that were made."""
    headers = edit_headers(answer.told) | asked_headers(answer.ignored, answer.adjusted)
    if answer.delivered < answer.requested:
        headers["x-wan-images"] = f"requested={answer.requested}, delivered={answer.delivered}"
    if answer.replayed:
        headers["idempotent-replayed"] = "true"
    return headers


def server_timing(spent: Mapping[Phase, float]) -> str:
    """Return *spent* seconds as the ``server-timing`` value, in milliseconds."""
    return ", ".join(f"{phase};dur={1000 * seconds:.1f}" for phase, seconds in spent.items())


def _escaped(told: str) -> str:
    """Make an id that upstream gave safe for a header line; DashScope's own stay as they are."""
    return quote(told, safe=_SAFE)[:_LONGEST_ID]


def _plain(name: str) -> str:
    """Make a field name that a client typed safe for a header line."""
    return "".join(c if " " < c < "\x7f" and c != "," else "?" for c in name[:64])
