from typing import Any

import pytest
from starlette.requests import Request

from gateway.domain.errors import Forbidden, UnknownKey
from gateway.downstream.dashboard import COOKIE, SESSION_SECONDS, DashboardAccess
from tests.downstream.harness import FakeClock

TOKEN = "canary-token-0123456789"


def request_from(peer: str | None = "127.0.0.1", **headers: str) -> Request:
    all_headers = {"host": "127.0.0.1:8080", **headers}
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in all_headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/dashboard",
        "headers": raw,
        "client": (peer, 1234) if peer else None,
    }
    return Request(scope)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(request_from(), id="IPv4"),
        pytest.param(request_from("127.8.8.8", host="localhost"), id="localhost"),
        pytest.param(request_from("::1", host="[::1]:8080"), id="IPv6"),
        pytest.param(request_from("::ffff:127.0.0.1"), id="IPv4 in IPv6"),
        pytest.param(request_from(sec_fetch_site="same-origin"), id="own page"),
        pytest.param(request_from(sec_fetch_site="none"), id="typed in"),
        pytest.param(request_from(origin="http://127.0.0.1:8080"), id="own origin"),
    ],
)
def test_this_machine_may_look(request_: Request) -> None:
    """Without a token whoever sits at this machine sees it."""
    DashboardAccess(None, FakeClock()).check(request_)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        pytest.param(request_from("192.0.2.7"), "only this machine", id="another machine"),
        pytest.param(request_from("::ffff:192.0.2.7"), "only this machine", id="another, as IPv6"),
        pytest.param(request_from(None), "only this machine", id="unknown peer"),
        pytest.param(
            request_from(host="evil.example"), "open it as", id="a name rebound to loopback"
        ),
        pytest.param(request_from(host="127.0.0.1.evil.example"), "open it as", id="looks like it"),
        pytest.param(request_from(host=""), "open it as", id="no host"),
        pytest.param(request_from(host="[::1"), "open it as", id="broken host"),
        pytest.param(
            request_from(x_forwarded_for="192.0.2.7"), "Behind a proxy", id="x-forwarded-for"
        ),
        pytest.param(request_from(forwarded="for=192.0.2.7"), "Behind a proxy", id="forwarded"),
        pytest.param(request_from(via="1.1 proxy"), "Behind a proxy", id="via"),
        pytest.param(request_from(sec_fetch_site="cross-site"), "other sites", id="another site"),
        pytest.param(request_from(sec_fetch_site="same-site"), "other sites", id="another port"),
        pytest.param(
            request_from(origin="https://evil.example"), "other sites", id="foreign origin"
        ),
        pytest.param(request_from(origin="null"), "other sites", id="no origin"),
    ],
)
def test_others_may_not(request_: Request, says: str) -> None:
    """Another machine, a rebound name, a proxy and another site's page see nothing."""
    with pytest.raises(Forbidden, match=says):
        DashboardAccess(None, FakeClock()).check(request_)


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_the_token_opens_from_anywhere(authorization: str) -> None:
    """With the token as bearer the page is seen from afar and through proxies."""
    far = request_from("192.0.2.7", host="ops.example", via="1.1 p", authorization=authorization)

    DashboardAccess(TOKEN, FakeClock()).check(far)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"authorization": f"Bearer {TOKEN}x"}, id="wrong"),
        pytest.param({"authorization": f"Basic {TOKEN}"}, id="another scheme"),
        pytest.param({"authorization": "Bearer"}, id="empty"),
        pytest.param({"cookie": f"{COOKIE}={TOKEN}"}, id="the token itself as cookie"),
        pytest.param({"cookie": f"{COOKIE}=9999999999.00"}, id="a made-up session"),
        pytest.param({"cookie": f"{COOKIE}=²9.00"}, id="odd digits"),
        pytest.param({"cookie": f"{COOKIE}={'9' * 5000}.0"}, id="a huge number"),
    ],
)
def test_without_the_token(headers: dict[str, str]) -> None:
    """Whoever lacks the token is refused, on this machine too, and the token is not quoted."""
    with pytest.raises(UnknownKey) as refused:
        DashboardAccess(TOKEN, FakeClock()).check(request_from(**headers))

    assert TOKEN not in str(refused.value)


def test_another_site_cannot_use_the_cookie() -> None:
    """Even with the session's cookie, a request from another site's page is refused."""
    access = DashboardAccess(TOKEN, FakeClock())
    cookie = f"{COOKIE}={access.session()}"

    access.check(request_from(cookie=cookie, sec_fetch_site="same-origin"))
    with pytest.raises(Forbidden):
        access.check(request_from(cookie=cookie, sec_fetch_site="cross-site"))
    access.check_origin(request_from(sec_fetch_site="cross-site"), navigation=True)


def test_a_session_ends() -> None:
    """A cookie outlives the process, but not twelve hours, nor another token."""
    clock = FakeClock()
    cookie = f"{COOKIE}={DashboardAccess(TOKEN, clock).session()}"

    DashboardAccess(TOKEN, clock).check(request_from(cookie=cookie))
    with pytest.raises(UnknownKey):
        DashboardAccess(f"{TOKEN}2", clock).check(request_from(cookie=cookie))
    clock.time += SESSION_SECONDS
    with pytest.raises(UnknownKey):
        DashboardAccess(TOKEN, clock).check(request_from(cookie=cookie))
    assert TOKEN not in cookie


def test_without_a_token_no_token_fits() -> None:
    """Where none is set, the form opens nothing."""
    assert not DashboardAccess(None, FakeClock()).is_token("")
