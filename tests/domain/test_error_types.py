import pytest

from gateway.domain import errors
from gateway.domain.errors import (
    ERROR_TYPES,
    ContentRefused,
    GatewayError,
    InvalidImage,
    InvalidRequest,
    ResultUnavailable,
    StillRunning,
    SubmitUncertain,
    TaskLost,
    Throttled,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
    error_type,
)


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (ContentRefused, "DataInspectionFailed", "content_policy"),
        (InvalidImage, None, "invalid_image"),
        (InvalidRequest, "InvalidParameter", "invalid_parameter"),
        (Throttled, "Throttling.RateQuota", "throttled"),
        (UpstreamUnavailable, None, "auth"),
        (UpstreamUnavailable, "InvalidApiKey", "auth"),
        (UpstreamUnavailable, "Arrearage", "quota"),
        (UpstreamUnavailable, "Throttling.AllocationQuota", "quota"),
        (UpstreamUnavailable, "insufficient_quota", "quota"),
        (UpstreamUnavailable, "Model.NotExist", "region_mismatch"),
        (UpstreamUnavailable, "WorkSpaceNotFound", "region_mismatch"),
        (UpstreamUnreachable, None, "network"),
        (SubmitUncertain, None, "network"),
        (ResultUnavailable, None, "network"),
        (StillRunning, None, "timeout"),
        (UpstreamFailed, "InternalError", "upstream_internal"),
        (UpstreamFailed, "InternalError.Timeout", "timeout"),
        (UpstreamFailed, "RequestTimeOut", "timeout"),
        (TaskLost, None, "other"),
        (GatewayError, "Arrearage", "other"),
    ],
)
def test_error_type(error: type[GatewayError], code: str | None, kind: str) -> None:
    """Each failure is counted as one of a closed set."""
    assert error_type(error("no", upstream_code=code)) == kind


@pytest.mark.parametrize("cls", errors._below(GatewayError))
def test_closed(cls: type[GatewayError]) -> None:
    """No class falls out of the set."""
    assert error_type(cls("no")) in ERROR_TYPES
