from hashlib import sha256

import pytest

from gateway.domain.errors import Forbidden, UnknownKey
from gateway.domain.tenant import Tenant
from gateway.downstream.auth import Keyring
from tests.downstream.harness import ACME, KEY

BETA = Tenant(name="beta", region="singapore", upstreams=())
KEYS = {sha256(KEY.encode()).digest(): "acme", sha256(b"key-b").digest(): "beta"}
KEYRING = Keyring({"acme": ACME, "beta": BETA}, KEYS)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        pytest.param({"authorization": f"Bearer {KEY}"}, "acme", id="bearer"),
        pytest.param({"authorization": f"bEARER   {KEY} "}, "acme", id="scheme-case-and-space"),
        pytest.param({"api-key": KEY}, "acme", id="api-key"),
        pytest.param({"api-key": KEY, "authorization": f"Bearer {KEY}"}, "acme", id="azure-1.x"),
        pytest.param(
            {"api-key": "key-b", "authorization": "Bearer dummy"}, "beta", id="dummy-beside-api-key"
        ),
        pytest.param({"api-key": " ", "authorization": f"Bearer {KEY}"}, "acme", id="empty"),
    ],
)
def test_known_keys(headers: dict[str, str], name: str) -> None:
    """A key tells its tenant, in either header; api-key goes first."""
    assert KEYRING.tenant_of(headers).name == name


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        pytest.param({}, "You didn't provide an API key", id="none"),
        pytest.param({"authorization": "Bearer "}, "You didn't provide", id="empty"),
        pytest.param({"authorization": f"Basic {KEY}"}, "You didn't provide", id="other-scheme"),
        pytest.param({"authorization": "Bearer sk-wrong"}, "Incorrect API key", id="unknown"),
        pytest.param({"authorization": "Bearer 钥匙"}, "Incorrect API key", id="not-latin-1"),
        pytest.param(
            {"api-key": "sk-wrong", "authorization": f"Bearer {KEY}"}, "Incorrect", id="two-keys"
        ),
    ],
)
def test_unknown_keys(headers: dict[str, str], says: str) -> None:
    """No key and an unknown key are told apart, and no key is ever echoed."""
    with pytest.raises(UnknownKey, match=says) as caught:
        KEYRING.tenant_of(headers)

    assert "sk-" not in caught.value.message
    assert KEY not in repr(vars(KEYRING))


def test_open_house() -> None:
    """With an open tenant everybody else is that tenant."""
    keyring = Keyring({"acme": ACME}, {sha256(KEY.encode()).digest(): "acme"}, BETA)

    assert keyring.tenant_of({}).name == "beta"
    assert keyring.tenant_of({"api-key": "whatever"}).name == "beta"
    assert keyring.tenant_of({"api-key": KEY}).name == "acme"


OPEN = Keyring(
    {"acme": ACME},
    {sha256(KEY.encode()).digest(): "acme"},
    BETA,
    ("http://localhost:5173", "*"),
)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="HTTP/1.0"),
        pytest.param({"host": "127.0.0.1:8080"}, id="a program"),
        pytest.param({"host": "[::1]:8080"}, id="IPv6"),
        pytest.param({"host": "localhost:8080", "sec-fetch-site": "none"}, id="the address line"),
        pytest.param(
            {
                "host": "localhost:8080",
                "origin": "http://localhost:8080",
                "sec-fetch-site": "same-origin",
            },
            id="its own page",
        ),
        pytest.param(
            {"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080"}, id="an older browser"
        ),
        pytest.param(
            {
                "host": "localhost:8080",
                "origin": "http://localhost:5173",
                "sec-fetch-site": "same-site",
            },
            id="a page that is named",
        ),
    ],
)
def test_who_needs_no_key(headers: dict[str, str]) -> None:
    """In open mode programs of this machine and pages that the operator named may call."""
    assert OPEN.tenant_of(headers).name == "beta"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        pytest.param(
            {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, "pages", id="a page"
        ),
        pytest.param({"origin": "https://evil.example"}, "pages", id="an older browser"),
        pytest.param({"origin": "null", "sec-fetch-site": "cross-site"}, "pages", id="a sandbox"),
        pytest.param({"sec-fetch-site": "cross-site"}, "pages", id="a picture's address"),
        pytest.param({"origin": "http://["}, "pages", id="an odd origin"),
        pytest.param({"sec-fetch-site": "same-site"}, "pages", id="another port"),
        pytest.param(
            {"host": "evil.example:8080", "sec-fetch-site": "same-origin"}, "127", id="rebound"
        ),
        pytest.param({"host": "127.0.0.1.evil.example"}, "127", id="a name like an address"),
        pytest.param({"host": "192.168.1.2:8080"}, "127", id="another address"),
    ],
)
def test_a_page_on_the_web(headers: dict[str, str], says: str) -> None:
    """A page spends nobody's money: not by its origin, nor by a name rebound to this machine."""
    with pytest.raises(Forbidden, match=says):
        OPEN.tenant_of({"host": "127.0.0.1:8080", **headers})


def test_a_page_with_a_key() -> None:
    """Whoever has a key may call from any page: CORS decides about those."""
    odd = {"host": "x", "origin": "https://app.example", "sec-fetch-site": "cross-site"}

    assert OPEN.tenant_of({"api-key": KEY, **odd}).name == "acme"
