from hashlib import sha256

import pytest

from gateway.domain.errors import UnknownKey
from gateway.domain.tenant import Tenant
from gateway.downstream.keys import Keyring
from tests.downstream.house import ACME, KEY

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
