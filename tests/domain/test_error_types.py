import pytest

from gateway.domain import errors
from gateway.domain.error_types import ERROR_TYPES, error_type
from gateway.domain.errors import GatewayError

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        pytest.param(errors.ContentRefused, "DataInspectionFailed", "content_policy", id="content"),
        pytest.param(errors.InvalidImage, "InvalidURL", "invalid_image", id="image"),
        pytest.param(errors.InvalidRequest, "InvalidParameter", "invalid_parameter", id="field"),
        pytest.param(errors.Throttled, "Throttling.RateQuota", "throttled", id="throttled"),
        pytest.param(errors.RateLimited, None, "throttled", id="our own line"),
        pytest.param(errors.UpstreamUnavailable, "InvalidApiKey", "auth", id="key"),
        pytest.param(errors.UpstreamUnavailable, "Model.AccessDenied", "auth", id="rights"),
        pytest.param(errors.UpstreamUnavailable, None, "auth", id="no code"),
        pytest.param(errors.UpstreamUnavailable, "Arrearage", "quota", id="arrears"),
        pytest.param(errors.UpstreamUnavailable, "PrepaidBillOverdue", "quota", id="bill"),
        pytest.param(errors.UpstreamUnavailable, "PostpaidBillOverdue", "quota", id="other bill"),
        pytest.param(errors.UpstreamUnavailable, "CommodityNotPurchased", "quota", id="no order"),
        pytest.param(
            errors.UpstreamUnavailable, "AllocationQuota.FreeTierOnly", "quota", id="free tier"
        ),
        pytest.param(
            errors.UpstreamUnavailable, "Throttling.AllocationQuota", "quota", id="free quota"
        ),
        pytest.param(errors.UpstreamUnavailable, "insufficient_quota", "quota", id="snake case"),
        pytest.param(
            errors.UpstreamUnavailable, "NOT AUTHORIZED", "region_mismatch", id="workspace"
        ),
        pytest.param(
            errors.UpstreamUnavailable, "model_not_found", "region_mismatch", id="no such model"
        ),
        pytest.param(
            errors.UpstreamUnavailable, "InvalidParameter", "region_mismatch", id="url error"
        ),
        pytest.param(
            errors.UpstreamUnavailable, "Model.NotExist", "region_mismatch", id="an SDK's spelling"
        ),
        pytest.param(errors.UpstreamUnavailable, "NotFound", "region_mismatch", id="no such path"),
        pytest.param(
            errors.UpstreamUnavailable, "WorkSpaceNotFound", "region_mismatch", id="no workspace"
        ),
        pytest.param(errors.UpstreamFailed, "InternalError.Algo", "upstream_internal", id="theirs"),
        pytest.param(errors.UpstreamFailed, "InternalError.Timeout", "timeout", id="3 hours"),
        pytest.param(errors.UpstreamFailed, "RequestTimeOut", "timeout", id="300 s"),
        pytest.param(errors.UpstreamFailed, None, "upstream_internal", id="nonsense"),
        pytest.param(errors.UpstreamUnreachable, None, "network", id="unreachable"),
        pytest.param(errors.SubmitUncertain, None, "network", id="uncertain"),
        pytest.param(errors.ResultUnavailable, None, "network", id="result"),
        pytest.param(errors.StillRunning, None, "timeout", id="deadline"),
        pytest.param(errors.TaskLost, None, "other", id="lost"),
        pytest.param(errors.InternalError, None, "other", id="a bug"),
    ],
)
def test_kinds(kind: type[GatewayError], code: str | None, expected: str) -> None:
    """The class tells the kind; only within it does upstream's code say more."""
    assert error_type(kind("x", upstream_code=code)) == expected


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in ALL])
def test_the_set_is_closed(kind: type[GatewayError]) -> None:
    """Whatever upstream's code is, the label is one of a closed set."""
    for code in (None, "", "NeverSeen", "Throttling"):
        assert error_type(kind("x", upstream_code=code)) in ERROR_TYPES
