import pytest

from gateway.domain.errors import ResultUnavailable
from gateway.upstream.result_url import check_result_url

_HOSTS = ("*.aliyuncs.com", "127.0.0.1:8001", "localhost:*", "dash*.oss-*.example.org", "*.Big.COM")


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        pytest.param(
            "https://dashscope-result-sh.oss-cn-shanghai.aliyuncs.com/1d/a.png?Expires=1&Signature=a%2Bb%3d",
            "https://dashscope-result-sh.oss-cn-shanghai.aliyuncs.com",
            b"/1d/a.png?Expires=1&Signature=a%2Bb%3d",
            id="signed",
        ),
        pytest.param("http://a.aliyuncs.com/x", "http://a.aliyuncs.com", b"/x", id="http"),
        pytest.param(
            "https://A.ALIYUNCS.com:443/x", "https://a.aliyuncs.com:443", b"/x", id="own-port"
        ),
        pytest.param("https://a.aliyuncs.com", "https://a.aliyuncs.com", b"/", id="no-path"),
        pytest.param("https://a.aliyuncs.com?q", "https://a.aliyuncs.com", b"/?q", id="query-only"),
        pytest.param("http://127.0.0.1:8001/x", "http://127.0.0.1:8001", b"/x", id="address"),
        pytest.param("http://localhost:9/x", "http://localhost:9", b"/x", id="any-port"),
        pytest.param("http://localhost/x", "http://localhost", b"/x", id="any-port-own"),
        pytest.param(
            "https://dash-b.oss-sh.example.org/x",
            "https://dash-b.oss-sh.example.org",
            b"/x",
            id="two",
        ),
        pytest.param("https://a.big.com/x", "https://a.big.com", b"/x", id="case-of-pattern"),
    ],
)
def test_allowed(url: str, origin: str, target: bytes) -> None:
    """A host that a pattern covers is taken, and the target is untouched."""
    place = check_result_url(url, _HOSTS)

    assert (place.origin, place.target) == (origin, target)
    assert place.url == origin + target.decode()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://evil.com/x", id="elsewhere"),
        pytest.param("https://aliyuncs.com/x", id="bare-domain"),
        pytest.param("https://evilaliyuncs.com/x", id="suffix-without-dot"),
        pytest.param("https://a.aliyuncs.com.evil.com/x", id="prefix"),
        pytest.param("https://a.aliyuncs.com@evil.com/x", id="userinfo"),
        pytest.param("https://u:p@a.aliyuncs.com/x", id="userinfo-allowed-host"),
        pytest.param("https://evil.com\\@a.aliyuncs.com/x", id="backslash"),
        pytest.param("https://evil.com#@a.aliyuncs.com/x", id="fragment"),
        pytest.param("https://a.aliyuncs.com/x#y", id="own-fragment"),
        pytest.param("https://a.aliyuncs.com:8080/x", id="other-port"),
        pytest.param("http://a.aliyuncs.com:443/x", id="other-schemes-port"),
        pytest.param("https://a.aliyuncs.com:99999/x", id="no-port"),
        pytest.param("https://a.aliyuncs.com:/x", id="empty-port"),
        pytest.param("http://127.0.0.1/x", id="address-other-port"),
        pytest.param("http://127.0.0.1:8002/x", id="address-wrong-port"),
        pytest.param("http://127.1:8001/x", id="short-address"),
        pytest.param("http://2130706433:8001/x", id="number"),
        pytest.param("http://[::1]:8001/x", id="ipv6"),
        pytest.param("ftp://a.aliyuncs.com/x", id="scheme"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("//a.aliyuncs.com/x", id="no-scheme"),
        pytest.param("https:///x", id="no-host"),
        pytest.param("https://a.aliyuncs.com/x y", id="space"),
        pytest.param("https://a.aliyuncs.com/x\r\nHost: evil", id="line-break"),
        pytest.param("https://a.aliyuncs.com/ä", id="not-ascii"),
        pytest.param("https://a.aliyuncs.com/" + "x" * 5000, id="too-long"),
        pytest.param("", id="empty"),
    ],
)
def test_refused(url: str) -> None:
    """Whatever leads elsewhere or is read differently by two parsers is not fetched."""
    with pytest.raises(ResultUnavailable) as caught:
        check_result_url(url, _HOSTS)

    assert not caught.value.retry


@pytest.mark.parametrize("host", ["10.0.0.1", "2130706433", "0x7f.1", "127.0.0.1."])
def test_a_star_takes_no_address(host: str) -> None:
    """Even ``*`` means names: an address must be written out."""
    with pytest.raises(ResultUnavailable):
        check_result_url(f"http://{host}/x", ("*",))


def test_signature_is_shown_nowhere() -> None:
    """Neither the refusal nor the place tell the query."""
    place = check_result_url("https://a.aliyuncs.com/x?Signature=canary", _HOSTS)
    with pytest.raises(ResultUnavailable) as caught:
        check_result_url("https://evil.com/x?Signature=canary", _HOSTS)

    assert "canary" not in f"{place!r} {caught.value!r} {caught.value.message}"
