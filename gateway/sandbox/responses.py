"""A region's responses: JSON and flat JSON errors of DashScope, XML errors of object storage."""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import orjson
from starlette.responses import Response


class Refusal(Exception):
    """
    A request is refused with DashScope's flat error object.

    Attributes:
        status: HTTP status.
        code: DashScope's error code.
        message: The text beside it.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status
        self.code = code
        self.message = message


class OssRefusal(Refusal):
    """A request to object storage is refused with an XML error."""


_DOWNLOAD = "Unable to download the media resource during the data inspection process."
_FREE_TIER = (
    "The free tier of the model has been exhausted. If you wish to continue access the model on a"
    ' paid basis, please disable the "use free tier only" mode in the management console.'
)
_BURST = (
    "Request rate increased too quickly. To ensure system stability, please adjust your client"
    " logic to scale requests more smoothly over time."
)
_ALLOCATION = "Allocated quota exceeded, please increase your quota limit."
_TRY_AGAIN = "please try again later or contact service support."
_TIMEOUT = f"An internal timeout error has occured during execution, {_TRY_AGAIN}"
_CAPACITY = (
    "Too many requests. Your requests are being throttled due to system capacity limits."
    " Please try again later."
)

#: HTTP status and documented text of each code that a script may name (reference section 7).
TEXTS: dict[str, tuple[int, str]] = {
    "DataInspectionFailed": (400, "Input data may contain inappropriate content."),
    "IPInfringementSuspect": (400, "Input data is suspected of being involved in IP infringement."),
    "InvalidParameter": (400, "Invalid request parameters."),
    "InvalidParameter.DataInspection": (400, _DOWNLOAD),
    "InvalidURL": (400, "Invalid URL provided in your request."),
    "Arrearage": (400, "Access denied, please make sure your account is in good standing."),
    "InvalidApiKey": (401, "Invalid API-key provided."),
    "AccessDenied": (403, "Access denied."),
    "AllocationQuota.FreeTierOnly": (403, _FREE_TIER),
    "ModelNotFound": (404, "Model can not be found."),
    "Throttling": (429, "Requests throttling triggered."),
    "Throttling.RateQuota": (429, "Requests rate limit exceeded, please try again later."),
    "Throttling.BurstRate": (429, _BURST),
    "Throttling.AllocationQuota": (429, _ALLOCATION),
    "CommodityNotPurchased": (429, "Commodity has not purchased yet."),
    "InternalError": (500, f"An internal error has occured, {_TRY_AGAIN}"),
    "InternalError.Algo": (500, "inference internal error."),
    "InternalError.Timeout": (500, _TIMEOUT),
    "SystemError": (500, "An system error has occured, please try again later."),
    "RewriteFailed": (500, "Failed to rewrite content for prompt."),
    "ModelServingError": (503, _CAPACITY),
    "ModelUnavailable": (503, "Model is unavailable, please try again later."),
}


def message_of(code: str) -> str:
    """Return the documented text of *code*, or a text that says that a script chose it."""
    return TEXTS[code][1] if code in TEXTS else f"{code} (scripted in the sandbox)."


def status_of(code: str) -> int:
    """Return the documented HTTP status of *code*, or of the part before its dot, or 400."""
    documented = TEXTS.get(code) or TEXTS.get(code.partition(".")[0])
    return documented[0] if documented else 400


def reply(
    request_id: str,
    body: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build a JSON response with DashScope's ``request_id`` in the body and as a header."""
    return Response(
        orjson.dumps({"request_id": request_id, **body}),
        status,
        media_type="application/json",
        headers={"x-request-id": request_id, **(headers or {})},
    )


def refuse(request_id: str, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Build an error response, in the form of the service that refused."""
    if isinstance(refusal, OssRefusal):
        return _refuse_xml(request_id, refusal)
    body = {"code": refusal.code, "message": refusal.message}
    return reply(request_id, body, status=refusal.status, headers=headers)


def _refuse_xml(request_id: str, refusal: OssRefusal) -> Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n'
        f"  <Code>{escape(refusal.code)}</Code>\n"
        f"  <Message>{escape(refusal.message)}</Message>\n"
        f"  <RequestId>{request_id}</RequestId>\n</Error>\n"
    )
    return Response(
        text,
        refusal.status,
        media_type="application/xml",
        headers={"x-oss-request-id": request_id, "server": "AliyunOSS"},
    )
