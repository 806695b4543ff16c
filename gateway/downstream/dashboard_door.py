"""
Who may look at the dashboard: whoever has its token, or, where none is set, this machine.

Without a token three things must hold, each against one way in: the peer is loopback (the
network), the Host header names loopback (a web page whose name was rebound to 127.0.0.1), no
header tells of a proxy (through which everybody is loopback). And whatever comes from another
site's page is refused with and without a token, even where CORS lets that page call the API.
"""

import hmac
from hashlib import sha256

from starlette.requests import HTTPConnection

from gateway.domain.clock import Clock
from gateway.domain.errors import Forbidden, UnknownKey
from gateway.downstream.own_page import host_of, is_loopback, is_own_page

COOKIE = "wan_gateway_dashboard"
SESSION_SECONDS = 12 * 3600
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class Door:
    """
    Opens the dashboard.

    Args:
        token: What a browser's user types and a program sends as bearer; ``None``: loopback.
        clock: Ends the sessions of browsers.
    """

    def __init__(self, token: str | None, clock: Clock) -> None:
        self._token = token
        self._clock = clock

    def check_place(self, asked: HTTPConnection, *, navigation: bool = False) -> None:
        """
        Refuse who asks from a wrong place, whatever else he has.

        Args:
            asked: The request.
            navigation: Whether following a link from another site may lead here.

        Raises:
            Forbidden: from another machine, by a foreign name, through a proxy, or from
                another site's page.
        """
        if self._token is None:
            _check_loopback(asked)
        if not navigation and not is_own_page(asked.headers):
            raise Forbidden("The dashboard is not shown to other sites' pages.")

    def check(self, asked: HTTPConnection, *, navigation: bool = False) -> None:
        """
        Let in who has the token, as bearer or by the cookie that it was changed for.

        Raises:
            Forbidden: as check_place.
            UnknownKey: the token is missing, wrong or too old.
        """
        self.check_place(asked, navigation=navigation)
        if self._token is None:
            return
        scheme, _, presented = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.fits(presented.strip()):
            return
        if not self._is_session(asked.cookies.get(COOKIE, "")):
            raise UnknownKey("The dashboard asks for its token: as bearer, or on its page.")

    def fits(self, presented: str) -> bool:
        """Compare in constant time."""
        return self._token is not None and hmac.compare_digest(
            sha256(presented.encode("utf-8", "replace")).digest(),
            sha256(self._token.encode()).digest(),
        )

    def session(self) -> str:
        """Return a cookie's value: good for twelve hours, in every process with this token."""
        return self._signed(int(self._clock.epoch()) + SESSION_SECONDS)

    def _is_session(self, cookie: str) -> bool:
        ends, _, _ = cookie.partition(".")
        if not ends.isascii() or not ends.isdigit() or len(ends) > 12:
            return False
        whole = self._signed(int(ends)).encode()
        good = hmac.compare_digest(whole, cookie.encode("latin-1", "replace"))
        return good and int(ends) > self._clock.epoch()

    def _signed(self, ends: int) -> str:
        # The token is the key: another token ends all sessions, a restart none.
        by = hmac.new((self._token or "").encode(), f"{COOKIE} {ends}".encode(), sha256)
        return f"{ends}.{by.hexdigest()}"


def _check_loopback(asked: HTTPConnection) -> None:
    peer = asked.client.host if asked.client else ""
    if not is_loopback(peer):
        raise Forbidden("Without [dashboard] token only this machine may look; set one.")
    if not is_loopback(host_of(asked.headers)):
        raise Forbidden("Without [dashboard] token open it as http://127.0.0.1 or localhost.")
    if any(name in asked.headers for name in _OF_PROXIES):
        raise Forbidden("Behind a proxy the dashboard needs its token; set [dashboard] token.")
