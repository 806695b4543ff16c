"""
What each error code of DashScope means to the client: the table of dashscope.md section 7.

Its order counts: the first row that fits decides, so texts come before a whole code, and
longer codes before shorter ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

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

Make = Callable[[str], GatewayError]
"""From what DashScope said, fit to show, to the client's error."""


def access_refused(_: str) -> GatewayError:
    # Key, rights, money, model: the operator's to fix; upstream's own words stay inside.
    return UpstreamUnavailable(
        "The upstream account cannot be used at present; the operator of this gateway has to"
        " look into it.",
        retry=False,
    )


def throttled(_: str) -> GatewayError:
    return Throttled("The upstream takes no more requests at present; try again later.")


def _content(said: str) -> GatewayError:
    return ContentRefused(
        f"Your request was rejected by the safety system: {said} Change the prompt or the images."
    )


def _image(said: str) -> GatewayError:
    return InvalidImage(f"An image was refused by the upstream: {said}", param="image")


def _invalid(said: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused a parameter: {said}")


def _size(said: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused the size: {said}", param="size")


def _n(said: str) -> GatewayError:
    return InvalidRequest(f"The upstream refused the number of pictures: {said}", param="n")


def too_large(_: str) -> GatewayError:
    return RequestTooLarge(
        "The images are too big together for the upstream; send smaller ones.", param="image"
    )


def failed(said: str) -> GatewayError:
    return UpstreamFailed(f"The upstream failed: {said}")


def refused_unknown(said: str) -> GatewayError:
    """Say that no task was made, for a reason that is not in the table; it would come again."""
    return UpstreamFailed(f"The upstream refused the request: {said}", retry=False)


def gateway_at_fault(_: str) -> GatewayError:
    # We spoke to it wrongly: the same request will be refused again.
    return UpstreamFailed(
        "The upstream did not understand this gateway; its operator has to look into it.",
        retry=False,
    )


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class Row:
    """A code of DashScope, perhaps with the beginning of its message, and what it means."""

    code: str
    """Covers itself, what is dotted behind it and its snake case twin."""
    make: Make
    starts: tuple[str, ...] = ()
    """How the message begins, in small letters; none: whatever it says."""


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
    # InvalidParameter has many meanings; only its text tells which (7.2 to 7.4)
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
    # 7.5 throttling: a free quota that is used up does not come back by waiting
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
