"""
Uploads of big pictures, before the submit that names them (D74): they cost no money.

An upload that fails is no end of an edit: the picture goes inline then. Each failure is
counted as a retry of the operation ``upload``: network (no answer), status (refused) or
content (an answer that is no use, such as a host that is not DashScope's).
"""

import asyncio
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from cachetools import TLRUCache

from gateway.domain.clock import Clock
from gateway.domain.edit import Picture
from gateway.domain.errors import ResultUnavailable
from gateway.domain.loopback import is_loopback
from gateway.domain.tenant import Upstream
from gateway.translate.dashscope_upload import UploadForm, UploadPolicy, read_policy, upload_form
from gateway.upstream.clients import Client, Clients, Purpose
from gateway.upstream.ports import UpstreamCalls
from gateway.upstream.result_url import ResultUrl, allowed
from gateway.upstream.submission import body_of

_PATIENCE = 60.0  # seconds for one picture, its policy included
_POLICIES = 256

_Right = tuple[str, str, str, str]
"""Whose storage a policy opens: region, base URL, key and model."""


@dataclass(slots=True)
class _Known:
    """What became of one picture; it is forgotten with the picture."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    url_by_right: dict[_Right, str] = field(default_factory=dict)
    """
    Empty where the upload failed: an edit does not wait for that twice.

    Nothing here may hold the picture, or neither would ever be forgotten.
    """


@dataclass(frozen=True, slots=True)
class _Held:
    policy: UploadPolicy
    until: float


class _Failed(Exception):
    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Uploads:
    """Object storage that DashScope reads from; see DashScopeApi for the arguments."""

    def __init__(self, clients: Clients, clock: Clock, calls: UpstreamCalls) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls
        self._known_by_id: dict[int, _Known] = {}
        self._asking: defaultdict[_Right, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._policies: TLRUCache[_Right, _Held] = TLRUCache(
            _POLICIES, ttu=lambda _, held, __: held.until, timer=clock.now
        )

    async def lift(
        self, upstream: Upstream, model: str, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """
        Return *pictures* by ``oss://`` URLs; one that cannot be brought up as it was.

        An edit has three at most, which go up at once. A picture goes up once for the same
        key and model, however often it is asked for. Raises nothing.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._lift(upstream, model, each)) for each in pictures]
        return tuple(task.result() for task in tasks)

    async def _lift(self, upstream: Upstream, model: str, picture: Picture) -> Picture:
        if picture.url:
            return picture
        region = upstream.region
        right = (region.name, region.base_url, upstream.key, model)
        known = self._known(picture)
        async with known.lock:
            if right not in known.url_by_right:
                known.url_by_right[right] = await self._tried(upstream, right, picture)
            url = known.url_by_right[right]
            return Picture(url=url) if url else picture

    def _known(self, picture: Picture) -> _Known:
        if (known := self._known_by_id.get(id(picture))) is None:
            known = self._known_by_id[id(picture)] = _Known()
            end = weakref.finalize(picture, self._known_by_id.pop, id(picture), None)
            end.atexit = False
        return known

    async def _tried(self, upstream: Upstream, right: _Right, picture: Picture) -> str:
        """Return the picture's URL; empty if it is not to be had."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._upload(upstream, right, picture)
        except _Failed as failed:
            reason = failed.reason
        except (httpx.HTTPError, TimeoutError):
            reason = "network"
        except Exception:  # noqa: BLE001 - whatever broke here, the edit can go on without
            reason = "content"
        self._calls.upstream_retried(upstream.region.name, "upload", reason)
        return ""

    async def _upload(self, upstream: Upstream, right: _Right, picture: Picture) -> str:
        policy, fresh = await self._policy(upstream, right)
        try:
            return await self._post(upstream, policy, picture)
        except _Failed as failed:
            if fresh or failed.status != 403:
                raise
        # Storage's clock is not ours: it may think the policy too old.
        self._calls.upstream_retried(upstream.region.name, "upload", "status")
        self._forget(right, policy)
        policy, _ = await self._policy(upstream, right)
        return await self._post(upstream, policy, picture)

    async def _policy(self, upstream: Upstream, right: _Right) -> tuple[UploadPolicy, bool]:
        """Return a policy that outlives this upload, and whether it was just handed out."""
        async with self._asking[right]:
            if (held := self._policies.get(right)) is not None:
                return held.policy, False
            asked = self._clock.now()
            policy = await self._ask(upstream, right[-1])
            until = asked + policy.seconds - _PATIENCE
            self._policies[right] = _Held(policy, until)
            return policy, True

    def _forget(self, right: _Right, policy: UploadPolicy) -> None:
        held = self._policies.get(right)
        if held is not None and held.policy is policy:
            del self._policies[right]

    async def _ask(self, upstream: Upstream, model: str) -> UploadPolicy:
        client = self._clients.of(upstream, Purpose.CALL)
        query = {"action": "getPolicy", "model": model}
        answer = await self._send(
            upstream, client, client.build_request("GET", "/uploads", params=query)
        )
        if answer.status_code != 200:
            raise _Failed("status")
        policy = read_policy(body_of(answer))
        if policy is None:
            raise _Failed("content")
        return policy

    async def _post(self, upstream: Upstream, policy: UploadPolicy, picture: Picture) -> str:
        place = _place(policy, upstream)
        form = upload_form(
            policy,
            picture.content,
            picture.media_type,
            unique=uuid4().hex,
            boundary=uuid4().hex,
        )
        client = self._clients.of(upstream, Purpose.DOWNLOAD)  # it has no key to lose
        request = client.build_request(
            "POST",
            place.url,
            content=_Outgoing(form),
            headers={"Content-Type": form.content_type, "Content-Length": str(form.length)},
            extensions={"target": place.target},
        )
        answer = await self._send(upstream, client, request)
        if answer.status_code != 200:
            raise _Failed("status", answer.status_code)
        return form.url

    async def _send(
        self, upstream: Upstream, client: Client, request: httpx.Request
    ) -> httpx.Response:
        """Send *request*, and count it."""
        began = self._clock.now()
        code = "error"
        try:
            answer = await client.send(request)
            code = str(answer.status_code)
        finally:
            seconds = self._clock.now() - began
            self._calls.upstream_call(upstream.region.name, "upload", code, seconds)
        return answer


class _Outgoing(httpx.AsyncByteStream):
    def __init__(self, form: UploadForm) -> None:
        self._form = form

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._form.pieces():
            yield piece


def _place(policy: UploadPolicy, upstream: Upstream) -> ResultUrl:
    """Return where to post to: DashScope's own storage, by https unless it is this machine."""
    try:
        place = allowed(policy.host, upstream.region.result_hosts)
    except ResultUnavailable as exc:
        raise _Failed("content") from exc
    if not place.origin.startswith("https://") and not is_loopback(httpx.URL(place.origin).host):
        raise _Failed("content")
    return place
