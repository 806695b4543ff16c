"""DashScope's error code and message → GatewayError, with a stated default (D17)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidImage,
    InvalidRequest,
    RequestTooLarge,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
)

LONGEST_CODE = 128
LONGEST_TASK_ID = 512
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def text_of(body: Mapping[str, Any], name: str) -> str:
    """Return a text, or an empty one where there is none."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


def code_of(body: Mapping[str, Any], name: str) -> str:
    """Return a code or an id for logs and headers: visible ASCII; a number as its digits."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return printable(str(value))


def printable(text: str) -> str:
    """Return at most 128 characters of *text* that may stand in a log and in a header."""
    return _UNPRINTABLE.sub("?", text[:LONGEST_CODE]).strip()


def task_id_of(body: Mapping[str, Any]) -> str:
    """Return the task id as it came, since only so it can be asked for; empty if it is none."""
    task_id = text_of(body, "task_id")
    return task_id if len(task_id) <= LONGEST_TASK_ID else ""


def number_of(value: object) -> float | None:
    """Return a number, also where it comes as a string."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def count_of(value: object) -> int | None:
    """Return a whole number that counts something."""
    number = number_of(value)
    return None if number is None or number < 0 else int(number)


Make = Callable[[str], GatewayError]
"""From DashScope's message, safe to show, to the client's error."""


def access_refused(_: str) -> GatewayError:
    # Key, rights, money, model: only the operator can fix it; upstream's text is not shown.
    return UpstreamUnavailable(
        "The upstream account cannot be used at present; the operator of this gateway has to"
        " look into it.",
        retry=False,
    )


def throttled(_: str) -> GatewayError:
    return Throttled("The upstream takes no more requests at present; try again later.")


def _content(reason: str) -> GatewayError:
    return ContentRefused(
        f"Your request was rejected by the safety system: {reason} Change the prompt or the images."
    )


def _image(reason: str) -> GatewayError:
    return InvalidImage(f"An image was refused by the upstream: {reason}", param="image")


def _invalid(reason: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused a parameter: {reason}")


def _size(reason: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused the size: {reason}", param="size")


def _n(reason: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused the number of pictures: {reason}", param="n")


def too_large(_: str) -> GatewayError:
    return RequestTooLarge(
        "The images are too big together for the upstream; send smaller ones.", param="image"
    )


def failed(reason: str) -> GatewayError:
    return UpstreamFailed(f"The upstream failed: {reason}")


def refused_unknown(reason: str) -> GatewayError:
    """Return the error for a refusal that is not in the table; a retry would be refused too."""
    return UpstreamFailed(f"The upstream refused the request: {reason}", retry=False)


def gateway_at_fault(_: str) -> GatewayError:
    # The gateway's request was wrong: the same request will be refused again.
    return UpstreamFailed(
        "The upstream did not understand this gateway; its operator has to look into it.",
        retry=False,
    )


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class Row:
    """A code of DashScope, perhaps with the start of its message, and the client's error."""

    code: str
    """Covers itself, codes that append to it with a dot, and its snake case spelling."""
    make: Make
    starts: tuple[str, ...] = ()
    """How the message begins, in lower case; empty: any message."""


_INVALID_PARAMETER = (
    "InvalidParameter",
    "invalid_parameter_error",
    "InternalError.Algo.InvalidParameter",
)
_IMAGE_TEXTS = (
    "image dimensions must be",
    "image format error",
    "invalid image format",
    "read image error",
    "the size of input image",
    "failed to decode the image",
    "the image length and width",
    "the image size is not supported",
    "the file format is illegal",
    "the media format is not supported",
    "download image failed",
    "download the media resource",
    "oss download error",
    "failed to download",
    "unable to download the media",
    "don't have authorization to access the media",
    "the provided url does not appear",
    "wrong content-type of multimodal url",
    "missing content-length of multimodal url",
    "exceeded limit on max bytes per data-uri",
    "multimodal file size",
)
_OUR_TEXTS = (
    "required body invalid",
    "input json error",
    "request method",
    "no messages found",
    "messages length",
    "content length only",
)
_WRONG_MODEL_TEXTS = ("model not exist", "url error")

ROWS: tuple[Row, ...] = (
    # 7.1 key, rights, account
    Row("InvalidApiKey", access_refused),
    Row("NOT AUTHORIZED", access_refused),
    Row("AccessDenied", gateway_at_fault, ("current user api does not support",)),
    Row("AccessDenied", failed, ("invalid according to policy",)),
    Row("AccessDenied", access_refused),
    Row("Model.AccessDenied", access_refused),
    Row("App.AccessDenied", access_refused),
    Row("Workspace.AccessDenied", access_refused),
    Row("AllocationQuota", access_refused),
    Row("Arrearage", access_refused),
    Row("CommodityNotPurchased", access_refused),
    Row("PrepaidBillOverdue", access_refused),
    Row("PostpaidBillOverdue", access_refused),
    # 7.2 model, route, request form
    Row("ModelNotFound", access_refused),
    Row("Model.NotExist", access_refused),
    Row("model_not_supported", access_refused),
    Row("WorkSpaceNotFound", access_refused),
    Row("NotFound", access_refused),
    Row("BadRequest.EmptyModel", gateway_at_fault),
    Row("BadRequest.EmptyInput", gateway_at_fault),
    Row("BadRequest.EmptyParameters", gateway_at_fault),
    Row("BadRequest.IllegalInput", gateway_at_fault),
    Row("BadRequest.TooLarge", too_large),
    Row("UnsupportedOperation", gateway_at_fault),
    # 7.3 image input
    Row("InvalidParameter.DataInspection", _image),
    Row("InvalidURL", _image),
    Row("BadRequest.InputDownloadFailed", _image),
    Row("BadRequest.UnsupportedFileFormat", _image),
    Row("InvalidImageFormat", _image),
    Row("InvalidImageResolution", _image),
    Row("InvalidImage", _image),
    Row("InvalidFile", _image),
    Row("InternalError.Algo", _image, _IMAGE_TEXTS),
    # 7.4 content
    Row("DataInspectionFailed", _content),
    Row("IPInfringementSuspect", _content),
    Row("CustomRoleBlocked", _content),
    Row("FaqRuleBlocked", _content),
    # InvalidParameter has many meanings; only its text says which (7.2 to 7.4)
    *(
        Row(code, make, starts)
        for code in _INVALID_PARAMETER
        for make, starts in (
            (_content, ("the image content does not comply with green network",)),
            (_image, _IMAGE_TEXTS),
            (access_refused, _WRONG_MODEL_TEXTS),
            (gateway_at_fault, _OUR_TEXTS),
            (too_large, ("exceeded limit on max bytes to request body",)),
            (_size, ("the size is not match",)),
            (_n, ("num_images_per_prompt",)),
            (_invalid, ()),
        )
    ),
    # 7.5 throttling: waiting does not refill a free quota
    Row("Throttling", access_refused, ("free allocated quota exceeded",)),
    Row("insufficient_quota", access_refused, ("free allocated quota exceeded",)),
    Row("Throttling", throttled),
    Row("LimitRequests", throttled),
    Row("limit_burst_rate", throttled),
    Row("insufficient_quota", throttled),
    # 7.6 server side
    Row("InternalError", failed),
    Row("SystemError", failed),
    Row("ModelServiceFailed", failed),
    Row("RequestTimeOut", failed),
    Row("RewriteFailed", failed),
    Row("ModelServingError", failed),
    Row("ModelUnavailable", failed),
    Row("ServiceUnavailable", failed),
    Row("GatewayTimeout", failed),
)


# Of these, only the operator sees upstream's text.
_HIDING = (access_refused, gateway_at_fault, throttled)
_LONGEST_SHOWN = 300  # characters of upstream's text that the client sees
_LONGEST_READ = 4096  # characters of it that are examined


def fault(
    code: str, message: str, *, request_id: str = "", http_status: int | None = None
) -> GatewayError:
    """
    Return the client's error for DashScope's ``code`` and ``message``.

    The same table serves a refused submit, a FAILED task and a failed picture of a task
    (dashscope.md 7). An unlisted code counts as the upstream's failure, never as the
    client's (D17): a 500 is investigated, while a 400 would blame a good request. The HTTP
    status may still mean a refused key (401, 403), throttling (429) or a body that is too
    large (413).

    Args:
        code: As received, dotted or in snake case; may be empty.
        message: As received. Keys, signatures and data URIs in it never reach the client.
        request_id: DashScope's, for the log line.
        http_status: Of the answer that brought the code; ``None`` inside a task.
    """
    code = printable(code)
    text = _unwrapped(message)
    make = _find_row(code, text) or _unlisted(http_status)
    shown = fit_to_show(text)
    error = make(shown or fit_to_show(code) or "No reason was given.")
    error.upstream_text = shown if shown in error.message else ""
    error.upstream_code = code or (f"HTTP {http_status}" if http_status else None)
    error.upstream_request_id = printable(request_id) or None
    if make in _HIDING:
        error.upstream_message = shown or None
    return error


def is_documented(code: str) -> bool:
    """Return whether DashScope documents *code*."""
    code = _folded(code)
    return any(code == head or code.startswith(head + ".") for head, _ in _TABLE)


def fit_to_show(text: str) -> str:
    """Return *text* as one short sentence without keys, signatures and data URIs."""
    text = _beginning(text)
    for pattern, instead in _NOT_TO_SHOW:
        text = pattern.sub(instead, text)
    text = text.strip()
    if len(text) > _LONGEST_SHOWN:
        return text[:_LONGEST_SHOWN] + "…"
    return text if not text or text.endswith((".", "!", "！", "。")) else text + "."


def _beginning(text: str) -> str:
    """Return the start of *text*, cut between words: half a key would not be recognised."""
    words = text[: _LONGEST_READ + 1].split()
    if len(text) > _LONGEST_READ:
        del words[-1:]
    return _CONTROLS.sub("", " ".join(words))


# Each takes time linear in the text, which has at most _LONGEST_READ characters.
_NOT_TO_SHOW = (
    # DashScope's newer gateways append it, for developers.
    (re.compile(r"For details, see:.*", re.IGNORECASE), ""),
    (re.compile(r"\bdata:[^,\s]{0,100},[^\s'\"]*"), "data:…"),
    # The query of a URL contains its signature, and the part before @ a password.
    (re.compile(r"\b(\w+://)[^/\s@]*@"), r"\1"),
    (re.compile(r"\b(\w+://[^\s?#'\"]*)[?#][^\s'\"]*"), r"\1"),
    (re.compile(r"\bsk-[\w-]+"), "[key]"),
    (re.compile(r"\b(LTAI|Bearer\s+)[\w.-]+"), "[key]"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PREFIX = re.compile(r"\s*(?:<\d+>\s*)?(?:\w+(?:\.\w+)+:\s*)?")
"""Some services repeat status and code before the message: ``<400> InternalError.Algo: …``."""


def _find_row(code: str, message: str) -> Make | None:
    code = _folded(code)
    message = message.casefold()
    for head, row in _TABLE:
        covered = code == head or code.startswith(head + ".")
        if covered and (not row.starts or message.startswith(row.starts)):
            return row.make
    return None


def _unlisted(http_status: int | None) -> Make:
    match http_status:
        case 401 | 403:
            return access_refused
        case 413:
            return too_large
        case 429:
            return throttled
        case int() if http_status < 500:
            return refused_unknown
        case _:
            return failed


def _unwrapped(message: str) -> str:
    """Return the text of *message*, which may be JSON, and may begin with status and code."""
    if message.lstrip().startswith("{"):
        try:
            inner = orjson.loads(message)
        except orjson.JSONDecodeError:
            return message
        inner = inner.get("error", inner)
        text = inner.get("message") if isinstance(inner, dict) else inner
        message = text if isinstance(text, str) else ""
    return _PREFIX.sub("", message[: _LONGEST_READ + 1], count=1)


def _folded(code: str) -> str:
    """Fold ``InvalidApiKey``, ``invalid_api_key`` and the like into one spelling."""
    return code.replace("_", "").replace(" ", "").casefold()


_TABLE = tuple((_folded(row.code), row) for row in ROWS)
