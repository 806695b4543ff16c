import socket
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.cli import main
from gateway.commands import doctor
from gateway.domain.clock import SystemClock

TABLES = """
[upstreams.bj]
region = "beijing"
key = "env:BJ"
[upstreams.sg]
region = "singapore"
key = "env:SG"
[tenants.any]
region = "beijing"
open = true
"""
ENVIRON = {"BJ": "sk-bj-canary", "SG": "sk-sg-canary"}
LISTED = {"request_id": "r", "data": [], "total": 0, "total_page": 0}
REFUSED = {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}
HOSTS = {"dashscope.aliyuncs.com": "sk-bj-canary", "dashscope-intl.aliyuncs.com": "sk-sg-canary"}

_WRONG = ": it is wrong, was deleted, or belongs to another region"
Door = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy set on the machine does not affect these tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def region(request: httpx.Request) -> httpx.Response:
    """DashScope: a key is valid in its own region."""
    valid = request.headers["authorization"] == f"Bearer {HOSTS.get(request.url.host)}"
    return httpx.Response(200, json=LISTED) if valid else httpx.Response(401, json=REFUSED)


def run(tmp_path: Path, door: Door, environ: dict[str, str] = ENVIRON, text: str = TABLES) -> int:
    file = tmp_path / "g.toml"
    file.write_text(text)
    return doctor.run(Namespace(config=file), environ, httpx.MockTransport(door))


def test_all_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys in their own regions: a row each, exit code 0."""
    code = run(tmp_path, region)

    assert code == 0
    assert capsys.readouterr().out == (
        "UPSTREAM  REGION\nbj        beijing    ok\nsg        singapore  ok\n"
    )


def test_probe_is_a_free_call(tmp_path: Path) -> None:
    """A probe lists one task, and asks for upload policies: it makes no task and is free."""
    seen: list[httpx.Request] = []

    def door(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return region(request)

    run(tmp_path, door)

    calls = sorted((request.method, str(request.url)) for request in seen)
    beijing = "https://dashscope.aliyuncs.com/api/v1"
    assert calls == [
        ("GET", "https://dashscope-intl.aliyuncs.com/api/v1/tasks?page_no=1&page_size=1"),
        ("GET", f"{beijing}/tasks?page_no=1&page_size=1"),
        ("GET", f"{beijing}/uploads?action=getPolicy&model=wan2.5-i2i-preview"),
        ("GET", f"{beijing}/uploads?action=getPolicy&model=wan2.5-t2i-preview"),
    ]


def test_swapped_keys_are_told_where_they_belong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key of the other region, the commonest slip, is named as such."""
    swapped = {"BJ": ENVIRON["SG"], "SG": ENVIRON["BJ"]}

    code = run(tmp_path, region, swapped)

    assert code == 1
    assert capsys.readouterr().out == (
        "UPSTREAM  REGION\n"
        f"bj        beijing    key refused (InvalidApiKey); valid in singapore{_WRONG}\n"
        f"sg        singapore  key refused (InvalidApiKey); valid in beijing{_WRONG}\n"
    )


def test_a_refused_key_is_not_tried_where_it_could_be_read(tmp_path: Path) -> None:
    """A refused key is never sent on suspicion over plain http."""
    seen: list[str] = []

    def door(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(401, json=REFUSED)

    run(
        tmp_path,
        door,
        text=f'[regions.eve]\nbase_url = "http://eve:80"\n'
        f'[regions.box]\nbase_url = "http://127.0.0.1:8001"\n{TABLES}',
    )

    assert "eve" not in seen
    assert "127.0.0.1" in seen


def answers(status: int, body: object) -> Door:
    return lambda _: httpx.Response(status, json=body)


def raises(error: Exception) -> Door:
    def door(request: httpx.Request) -> httpx.Response:
        raise error

    return door


_NOT_DASHSCOPE = "answered 200, but not as DashScope does: check base_url, and any proxy in between"
ONE = TABLES.partition("[upstreams.sg]")[0] + '[tenants.any]\nregion = "beijing"\nopen = true\n'


@pytest.mark.parametrize(
    ("door", "says"),
    [
        pytest.param(answers(401, REFUSED), f"key refused (InvalidApiKey){_WRONG}", id="refused"),
        pytest.param(answers(401, "who?"), "key refused", id="refused-without-a-code"),
        pytest.param(
            answers(429, {"code": "Throttling.RateQuota"}),
            "throttled (Throttling.RateQuota): other programs use up the account's limits, or try "
            "again",
            id="throttled",
        ),
        pytest.param(
            answers(400, {"code": "Arrearage"}),
            "answered 400 (Arrearage): the account is in arrears: pay its bill",
            id="in-arrears",
        ),
        pytest.param(
            answers(200, {"code": "AccessDenied", "request_id": "r"}),
            "answered 200 (AccessDenied): the account or workspace has no right to it: "
            "grant it in Alibaba's console",
            id="fault-in-a-200",
        ),
        pytest.param(
            answers(500, {"code": "\x1b[2J sk-bj-canary"}), "answered 500", id="hostile-code"
        ),
        pytest.param(
            answers(200, []),
            _NOT_DASHSCOPE,
            id="json-but-no-object",
        ),
        pytest.param(
            lambda _: httpx.Response(200, text="<html>"),
            _NOT_DASHSCOPE,
            id="a-web-page",
        ),
        pytest.param(
            lambda _: httpx.Response(302, headers={"location": "http://eve/"}),
            "answered 302: base_url must be the native API, …/api/v1",
            id="redirect-not-followed",
        ),
        pytest.param(
            raises(httpx.ReadTimeout("slow")), "unreachable: no answer in 10 s", id="timeout"
        ),
        pytest.param(
            raises(httpx.ConnectError("no route")), "unreachable: no route", id="no-route"
        ),
        pytest.param(raises(httpx.ReadError("")), "unreachable: ReadError", id="cut"),
    ],
)
def test_findings(
    tmp_path: Path, door: Door, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each way to be unwell has its words; the exit code is 1 and no key is shown."""
    code = run(tmp_path, door, text=ONE)

    output = capsys.readouterr().out
    assert code == 1
    assert output == f"UPSTREAM  REGION\nbj        beijing  {says}\n"


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        pytest.param(
            403,
            "Model.AccessDenied",
            "wan2.5-t2i-preview refused (Model.AccessDenied): open the model for the workspace in "
            "Alibaba's console",
            id="workspace",
        ),
        pytest.param(
            403,
            "AccessDenied.Unpurchased",
            "wan2.5-t2i-preview refused (AccessDenied.Unpurchased): activate Model Studio for the "
            "account in Alibaba's console",
            id="not-activated",
        ),
        pytest.param(404, "", "ok", id="a-server-without-uploads"),
        pytest.param(400, "InvalidParameter", "ok", id="nothing-about-the-model"),
    ],
)
def test_a_model_that_is_not_opened(
    tmp_path: Path, status: int, code: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A valid key whose account may not use a tenant's model is found by a free call."""

    def door(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("model") == "wan2.5-t2i-preview":
            return httpx.Response(status, json={"code": code, "message": "no", "request_id": "r"})
        return region(request)

    exit_code = run(tmp_path, door, text=ONE)

    assert exit_code == (says != "ok")
    assert capsys.readouterr().out == f"UPSTREAM  REGION\nbj        beijing  {says}\n"


class ShiftedClock(SystemClock):
    """A machine's clock that is set wrong."""

    def __init__(self, epoch: float) -> None:
        super().__init__()
        self._epoch = epoch

    def epoch(self) -> float:
        return self._epoch


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        pytest.param(29.0, "", id="as-good-as-right"),
        pytest.param(95.0, "95 s ahead of", id="ahead"),
        pytest.param(-600.0, "10 min behind", id="behind"),
    ],
)
def test_a_wrong_clock(
    tmp_path: Path, ahead: float, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that differs from DashScope's is a warning; the keys work all the same."""
    file = tmp_path / "g.toml"
    file.write_text(ONE)
    date = {"date": "Sat, 28 Nov 2026 10:00:00 GMT"}
    clock = ShiftedClock(1795860000.0 + ahead)
    door = httpx.MockTransport(lambda _: httpx.Response(200, json=LISTED, headers=date))

    code = doctor.run(Namespace(config=file), ENVIRON, door, clock)

    output = capsys.readouterr().out
    assert code == 0
    assert (f"\nwarning: this machine's clock is {says} DashScope's." in output) == bool(says)
    assert ("warning" in output) == bool(says)


def test_a_date_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer whose Date cannot be read says nothing about the clock."""
    door = httpx.Response(200, json=LISTED, headers={"date": "soon"})

    assert run(tmp_path, lambda _: door, text=ONE) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("why", ["certificate has expired", "certificate is not yet valid"])
def test_a_certificate_out_of_its_time(
    tmp_path: Path, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate that is refused by its dates may be the fault of this machine's clock."""
    run(tmp_path, raises(httpx.ConnectError(f"certificate verify failed: {why}")), text=ONE)

    assert f"{why}; look at this machine's clock first" in capsys.readouterr().out


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command line, over real sockets: a region that is not there is unreachable."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        file = tmp_path / "g.toml"
        file.write_text(f'[regions.beijing]\nbase_url = "http://127.0.0.1:{port}/api/v1"\n{ONE}')

        code = main(["doctor", "--config", str(file)], ENVIRON)

    assert code == 1
    assert "unreachable: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Who cannot be reached over a proxy is looked for there first."""
    environ = {**ENVIRON, name: "http://127.0.0.1:9"}

    code = run(tmp_path, raises(httpx.ConnectError("refused")), environ, ONE)

    assert code == 1
    assert f"unreachable: refused; {name} sets a proxy for it: check" in (capsys.readouterr().out)


def test_doctor_takes_the_way_of_the_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy for other URLs, of a kind that is not supported, is nothing to it."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        file = tmp_path / "g.toml"
        file.write_text(f'[regions.beijing]\nbase_url = "http://127.0.0.1:{port}/api/v1"\n{ONE}')

        code = main(["doctor", "--config", str(file)], {**ENVIRON, "HTTPS_PROXY": "socks5://x"})

    assert code == 1
    assert "unreachable: ClientConnectorError\n" in capsys.readouterr().out
