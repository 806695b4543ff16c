"""GatewayError → the kind of failure that a dashboard counts: a closed set."""

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidImage,
    InvalidRequest,
    RateLimited,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)

ERROR_TYPES = (
    "content_policy",
    "invalid_image",
    "invalid_parameter",
    "throttled",
    "quota",
    "auth",
    "region_mismatch",
    "upstream_internal",
    "network",
    "timeout",
    "other",
)

_BY_CLASS: tuple[tuple[type[GatewayError], str], ...] = (
    # A class stands before the one that it is made from.
    (ContentRefused, "content_policy"),
    (InvalidImage, "invalid_image"),
    (InvalidRequest, "invalid_parameter"),
    (RateLimited, "throttled"),
    (UpstreamUnavailable, "auth"),
    (UpstreamUnreachable, "network"),
    (SubmitUncertain, "network"),
    (ResultUnavailable, "network"),
    (StillRunning, "timeout"),
    (UpstreamFailed, "upstream_internal"),
)

# What makes an upstream unavailable, by the beginning of DashScope's code (dashscope.md 7.1, 7.2).
_UNAVAILABLE: tuple[tuple[str, str], ...] = (
    ("allocationquota", "quota"),
    ("arrearage", "quota"),
    ("commoditynotpurchased", "quota"),
    ("insufficientquota", "quota"),
    ("postpaidbilloverdue", "quota"),
    ("prepaidbilloverdue", "quota"),
    ("throttling", "quota"),
    # The endpoint knows not what we ask for: the usual sign of a key beside its region.
    ("invalidparameter", "region_mismatch"),
    ("model.notexist", "region_mismatch"),
    ("modelnot", "region_mismatch"),
    ("notauthorized", "region_mismatch"),
    ("notfound", "region_mismatch"),
    ("workspacenotfound", "region_mismatch"),
)
_TIMEOUTS = ("internalerror.timeout", "requesttimeout", "gatewaytimeout")


def error_type(error: GatewayError) -> str:
    """Return the one of ERROR_TYPES that *error* belongs to."""
    code = (error.upstream_code or "").replace("_", "").replace(" ", "").casefold()
    kind = next((kind for cls, kind in _BY_CLASS if isinstance(error, cls)), "other")
    if kind == "auth":
        return next((kind for head, kind in _UNAVAILABLE if code.startswith(head)), kind)
    if kind == "upstream_internal" and code.startswith(_TIMEOUTS):
        return "timeout"
    return kind
