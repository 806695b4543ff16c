import pytest

from gateway.config import ConfigError
from gateway.config.proxies import proxy_variable, refuse_proxies

URL = "https://dashscope.aliyuncs.com/api/v1"
GOOD = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"HTTP_PROXY": GOOD}, None),
        ({"HTTPS_PROXY": GOOD}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": GOOD, "https_proxy": GOOD}, "https_proxy"),
        ({"ALL_PROXY": GOOD}, "ALL_PROXY"),
        ({"ALL_PROXY": GOOD, "https_proxy": GOOD}, "https_proxy"),
        ({"HTTPS_PROXY": GOOD, "NO_PROXY": ".aliyuncs.com"}, None),
        ({"HTTPS_PROXY": GOOD, "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_which_variable_leads_there(environ: dict[str, str], name: str | None) -> None:
    """The variable of the scheme comes before ALL_PROXY, and NO_PROXY before both."""
    assert proxy_variable(URL, environ) == name


@pytest.mark.parametrize(
    "proxy", [GOOD, "proxy.example:3128", "http://user:secret@[::1]:3128", "https://proxy.example"]
)
def test_proxies_that_can_be_used(proxy: str) -> None:
    """A proxy by HTTP or HTTPS is taken, with a password or without a scheme."""
    refuse_proxies([URL], {"HTTPS_PROXY": proxy})


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://user:secret@127.0.0.1:1080",
        "socks5h://127.0.0.1:1080",
        "foo://secret",
        "http://",
        "http://[::1",
        "http://secret:99999",
        "secret:port",
    ],
)
def test_proxies_that_cannot_be_used(proxy: str) -> None:
    """Any other stops the start: by the name of its variable, without what it holds."""
    with pytest.raises(ConfigError) as raised:
        refuse_proxies(
            ["http://127.0.0.1:8001/api/v1", URL], {"ALL_PROXY": proxy, "no_proxy": "127.0.0.1"}
        )

    message = str(raised.value)
    assert message.startswith("environment: ALL_PROXY: ")
    assert "NO_PROXY=dashscope.aliyuncs.com" in message
    assert "secret" not in message
