"""Big pictures go up before the submit; whatever goes wrong there, the edit goes on."""

import asyncio
import gc
import logging
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest

from gateway.domain.edit import Picture
from gateway.domain.errors import UpstreamUnreachable
from gateway.domain.tenant import Upstream
from gateway.upstream.calls import CallLimits
from gateway.upstream.clients import Clients
from gateway.upstream.dashscope import DashScopeApi
from tests.models import TABLE
from tests.upstream.wire import (
    EDIT,
    PART,
    HandClock,
    LoopbackServer,
    RecordedCalls,
    Serve,
    intent,
    listening,
    read_request,
    upstream,
)

pytestmark = pytest.mark.anyio

_HOST = "https://dashscope-file-x.oss-cn-beijing.aliyuncs.com"
_KEY = b"sk-canary-0123456789"
_TASK = {"output": {"task_id": "t-1"}, "request_id": "r-1"}
_INLINE = "data:image/jpeg;base64,"
Reply = httpx.Response | Exception


def _picture() -> Picture:
    return Picture(content=b"\xff\xd8" * 2000, media_type="image/jpeg")


def _policy(host: str = _HOST, **more: Any) -> dict[str, Any]:
    data = {
        "policy": "canary-policy",
        "signature": "canary-signature",
        "upload_dir": "dashscope-instant/x",
        "upload_host": host,
        "expire_in_seconds": 300,
        "oss_access_key_id": "LTA-canary",
    }
    return {"request_id": "r-0", "data": data | more}


class ScriptedUploads:
    """An API over three scripted doors; what is not scripted succeeds."""

    def __init__(
        self, policies: list[Reply] | None = None, posts: list[Reply] | None = None
    ) -> None:
        self.policies, self.posts = policies or [], posts or []
        self.seen: list[tuple[str, httpx.Request]] = []
        self.tally, self.clock = RecordedCalls(), HandClock()
        clients = Clients(lambda _: httpx.MockTransport(self._answer))
        self.api = DashScopeApi(clients, self.clock, self.tally, TABLE, inline_bytes=1000)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        await asyncio.sleep(0)
        if request.url.path.endswith("/uploads"):
            return self._reply("policy", request, self.policies, {"json": _policy()})
        if request.url.path.endswith("/image-synthesis"):
            return self._reply("submit", request, [], {"json": _TASK})
        return self._reply("post", request, self.posts, {})

    def _reply(
        self, door: str, request: httpx.Request, script: list[Reply], usual: dict[str, Any]
    ) -> httpx.Response:
        self.seen.append((door, request))
        reply = script.pop(0) if script else httpx.Response(200, **usual)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def submit(self, *pictures: Picture, at: Upstream | None = None) -> None:
        await _submit(self.api, at or upstream(), *pictures or (_picture(),))

    @property
    def doors(self) -> list[str]:
        return [door for door, _ in self.seen]

    def requests(self, door: str) -> list[httpx.Request]:
        return [request for name, request in self.seen if name == door]

    def images(self, nth: int = -1) -> list[str]:
        sent: list[str] = orjson.loads(self.requests("submit")[nth].content)["input"]["images"]
        return sent


async def _submit(api: DashScopeApi, at: Upstream, *pictures: Picture) -> None:
    await api.submit(at, EDIT, PART, await api.upload(at, EDIT, PART, pictures), intent())


async def test_goes_up_first() -> None:
    """A picture goes up with the policy of its model, without a key; the submit names it."""
    scripted = ScriptedUploads()

    await scripted.submit()

    ((_, fetched), (_, posted), (_, submitted)) = scripted.seen
    assert scripted.doors == ["policy", "post", "submit"]
    assert dict(fetched.url.params) == {"action": "getPolicy", "model": EDIT.model}
    assert fetched.headers["authorization"] == f"Bearer {_KEY.decode()}"
    assert str(posted.url) == f"{_HOST}/"
    assert "authorization" not in posted.headers
    assert int(posted.headers["content-length"]) == len(posted.content)
    assert submitted.headers["x-dashscope-ossresourceresolve"] == "enable"
    (url,) = scripted.images()
    assert url.startswith("oss://dashscope-instant/x/")
    assert url.endswith(".jpeg")
    assert url.removeprefix("oss://").encode() in posted.content
    assert scripted.tally.calls[:2] == [("beijing", "upload", "200")] * 2
    assert scripted.tally.retries == []


async def test_small_stays_inline() -> None:
    """What is under the limit goes inline, and says nothing of uploads."""
    scripted = ScriptedUploads()

    await scripted.submit(Picture(content=b"\xff\xd8", media_type="image/jpeg"))

    assert scripted.doors == ["submit"]
    assert "x-dashscope-ossresourceresolve" not in scripted.requests("submit")[0].headers


async def test_several() -> None:
    """The pictures of an edit share one policy and have names of their own; URLs stay."""
    scripted = ScriptedUploads()
    link = Picture(url="https://pictures.test/a.png")

    await scripted.submit(_picture(), link, replace(_picture(), media_type="image/png"))

    first, second, third = scripted.images()
    assert sorted(scripted.doors) == ["policy", "post", "post", "submit"]
    assert (first[-5:], second, third[-4:]) == (".jpeg", link.url, ".png")
    assert first[:-5] != third[:-4]


async def test_reused_by_the_same_edit() -> None:
    """Another part and another try name the picture that is up; another key brings it up again."""
    scripted, picture = ScriptedUploads(), _picture()

    await asyncio.gather(scripted.submit(picture), scripted.submit(picture))
    await scripted.submit(picture, at=upstream(key="sk-other"))

    assert scripted.doors.count("policy") == scripted.doors.count("post") == 2
    assert scripted.images(0) == scripted.images(1) != scripted.images(2)


@pytest.mark.parametrize("policies", [[], [httpx.Response(401)]], ids=["up", "refused"])
async def test_forgotten_with_the_picture(policies: list[Reply]) -> None:
    """Nothing is kept of a picture that is gone, least of all the picture."""
    scripted = ScriptedUploads(policies, [])

    await scripted.submit()
    scripted.seen.clear()
    gc.collect()

    assert scripted.api._uploads._uploaded_by_id == {}


@pytest.mark.parametrize(
    ("seconds", "later", "fetches"),
    [
        pytest.param(300, 239, 1, id="valid"),
        pytest.param(300, 241, 2, id="would-end-during-the-upload"),
        pytest.param(None, 0, 2, id="without-a-term"),
    ],
)
async def test_policy_is_kept_while_valid(seconds: int | None, later: float, fetches: int) -> None:
    """A policy serves other edits as long as it outlives their uploads."""
    policy = _policy(expire_in_seconds=seconds)
    scripted = ScriptedUploads([httpx.Response(200, json=policy) for _ in range(2)])

    await scripted.submit()
    scripted.clock.time += later
    await scripted.submit()

    assert scripted.doors.count("policy") == fetches
    assert scripted.doors.count("post") == 2


async def test_storage_finds_the_policy_old() -> None:
    """A kept policy that storage refuses is replaced by a new one, once."""
    scripted = ScriptedUploads(posts=[httpx.Response(200), httpx.Response(403)])

    await scripted.submit()
    await scripted.submit()

    assert scripted.doors == ["policy", "post", "submit", "post", "policy", "post", "submit"]
    assert scripted.images()[0].startswith("oss://")
    assert scripted.tally.retries == [("beijing", "upload", "status")]


async def test_storage_refuses_two_at_once() -> None:
    """Two pictures whose kept policy is refused ask for one new policy together."""
    scripted = ScriptedUploads(
        posts=[httpx.Response(200), httpx.Response(403), httpx.Response(403)]
    )

    await scripted.submit()
    await scripted.submit(_picture(), _picture())

    assert scripted.doors.count("policy") == 2
    assert all(image.startswith("oss://") for image in scripted.images())


def _ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    ("policies", "posts", "reason"),
    [
        pytest.param([httpx.Response(401)], [], "status", id="policy-refused"),
        pytest.param([httpx.Response(429)], [], "status", id="policy-throttled"),
        pytest.param([httpx.ConnectError("x")], [], "network", id="policy-unreachable"),
        pytest.param([_ok({"data": {}})], [], "content", id="policy-empty"),
        pytest.param([httpx.Response(200, text="<html>")], [], "content", id="policy-a-page"),
        pytest.param([_ok(_policy("https://evil.test"))], [], "content", id="strange-host"),
        pytest.param([_ok(_policy(_HOST.replace("https", "http")))], [], "content", id="no-tls"),
        pytest.param([], [httpx.Response(403)], "status", id="upload-refused"),
        pytest.param([], [httpx.Response(307)], "status", id="upload-redirected"),
        pytest.param([], [httpx.ReadError("x")], "network", id="upload-cut"),
        pytest.param([], [RuntimeError("canary-signature")], "content", id="bug"),
    ],
)
async def test_inline_then(policies: list[Reply], posts: list[Reply], reason: str) -> None:
    """Whatever refuses or breaks an upload, the picture goes inline, and each part at once."""
    scripted, picture = ScriptedUploads(policies, posts), _picture()

    await scripted.submit(picture)
    tried = scripted.doors.count("policy") + scripted.doors.count("post")
    await scripted.submit(picture)

    assert [image[: len(_INLINE)] for image in scripted.images()] == [_INLINE]
    assert "x-dashscope-ossresourceresolve" not in scripted.requests("submit")[0].headers
    assert scripted.tally.retries == [("beijing", "upload", reason)]
    assert scripted.doors.count("policy") + scripted.doors.count("post") == tried
    assert scripted.doors.count("submit") == 2


async def test_too_slow() -> None:
    """An upload that does not end is given up, and the picture goes inline."""
    scripted = ScriptedUploads()

    async def never(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/uploads"):
            await asyncio.sleep(30)
        return await ScriptedUploads._answer(scripted, request)

    clients = Clients(lambda _: httpx.MockTransport(never))
    limits = CallLimits(upload=0.05)
    api = DashScopeApi(
        clients, scripted.clock, scripted.tally, TABLE, inline_bytes=0, limits=limits
    )
    await _submit(api, upstream(), _picture())

    assert scripted.doors == ["submit"]
    assert ("beijing", "upload", "network") in scripted.tally.retries


async def test_unreachable_means_what_it_meant() -> None:
    """Nobody listens: the upload fails first, and the submit is still surely not sent."""
    async with Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE, inline_bytes=0)
        async with listening(_storage) as received:
            port = received.port
        with pytest.raises(UpstreamUnreachable):
            await _submit(api, upstream(f"http://127.0.0.1:{port}"), _picture())


def _storage(received: LoopbackServer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await read_request(received, reader)
            policy = orjson.dumps(
                _TASK if b"image-synthesis" in head else _response_body(received, head)
            )
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(policy), policy))
            await writer.drain()

    return serve


def _response_body(received: LoopbackServer, head: bytes) -> dict[str, Any]:
    return _policy(f"http://localhost:{received.port}/oss") if b"getPolicy" in head else {}


async def test_on_the_wire() -> None:
    """On a real socket the form is whole, of known length, and the key is not told to storage."""
    place = ("127.0.0.1:*", "localhost:*")
    async with listening(_storage) as received, Clients() as clients:
        api = DashScopeApi(clients, HandClock(), RecordedCalls(), TABLE, inline_bytes=0)
        await _submit(api, upstream(received.base_url, hosts=place), _picture())

    _, form = bytes(received.bytes).split(b"POST /oss HTTP/1.1\r\n")
    form, submit = form.split(b"POST /services/")
    assert _KEY in submit
    assert _KEY not in form
    assert b"chunked" not in form.lower()
    assert form.index(b'name="key"') < form.index(b'name="file"')
    assert _picture().content in form
    assert b'"images":["oss://dashscope-instant/x/' in submit


async def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """No signature, policy or URL of an upload reaches a log, whether it works or not."""
    caplog.set_level(logging.DEBUG)
    scripted = ScriptedUploads(posts=[httpx.Response(200), httpx.ReadError("canary-signature")])

    await scripted.submit()
    await scripted.submit()

    assert "canary" not in caplog.text
    assert "oss://" not in caplog.text
