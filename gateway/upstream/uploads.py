"""
Uploads of large pictures to DashScope's object storage, before the submit; they are free (D74).

If an upload fails, the picture is sent inline. Each failure is counted as a retry of the
operation ``upload``: network (no response), status (refused) or content (an unusable
response, such as a host that is not DashScope's).
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
from gateway.upstream.calls import CallLimits, UpstreamCalls, counted_call
from gateway.upstream.clients import Client, Clients, Purpose
from gateway.upstream.result_url import ResultUrl, check_result_url
from gateway.upstream.submission import body_of

_POLICIES = 256

_Scope = tuple[str, str, str, str]
"""What a policy is valid for: region, base URL, key and model."""


@dataclass(slots=True)
class _Uploaded:
    """
    The URLs of one picture; dropped when the picture is.

    It must not refer to the picture, or neither would ever be freed.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    url_by_scope: dict[_Scope, str] = field(default_factory=dict)
    """An empty URL means that the upload failed: it is not tried again."""


@dataclass(frozen=True, slots=True)
class _CachedPolicy:
    policy: UploadPolicy
    until: float


class _Failed(Exception):
    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Uploads:
    """DashScope's object storage; for the arguments see DashScopeApi."""

    def __init__(
        self, clients: Clients, clock: Clock, calls: UpstreamCalls, limits: CallLimits
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls
        self._limits = limits
        self._uploaded_by_id: dict[int, _Uploaded] = {}
        self._policy_locks: defaultdict[_Scope, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._policies: TLRUCache[_Scope, _CachedPolicy] = TLRUCache(
            _POLICIES, ttu=lambda _, cached, __: cached.until, timer=clock.now
        )

    async def upload_all(
        self, upstream: Upstream, model: str, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """
        Return *pictures* as ``oss://`` URLs; one that cannot be uploaded is returned unchanged.

        They are uploaded at the same time, and each once for a key and model, however often
        it is asked for. Raises nothing.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._upload_once(upstream, model, each)) for each in pictures
            ]
        return tuple(task.result() for task in tasks)

    async def _upload_once(self, upstream: Upstream, model: str, picture: Picture) -> Picture:
        if picture.url:
            return picture
        region = upstream.region
        scope = (region.name, region.base_url, upstream.key, model)
        uploaded = self._uploaded(picture)
        async with uploaded.lock:
            if scope not in uploaded.url_by_scope:
                uploaded.url_by_scope[scope] = await self._try_upload(upstream, scope, picture)
            url = uploaded.url_by_scope[scope]
            return Picture(url=url) if url else picture

    def _uploaded(self, picture: Picture) -> _Uploaded:
        if (uploaded := self._uploaded_by_id.get(id(picture))) is None:
            uploaded = self._uploaded_by_id[id(picture)] = _Uploaded()
            end = weakref.finalize(picture, self._uploaded_by_id.pop, id(picture), None)
            end.atexit = False
        return uploaded

    async def _try_upload(self, upstream: Upstream, scope: _Scope, picture: Picture) -> str:
        """Return the picture's URL; empty if the upload failed."""
        try:
            async with asyncio.timeout(self._limits.upload):
                return await self._upload(upstream, scope, picture)
        except _Failed as failed:
            reason = failed.reason
        except (httpx.HTTPError, TimeoutError):
            reason = "network"
        except Exception:  # noqa: BLE001 - whatever failed, the picture is sent inline
            reason = "content"
        self._calls.upstream_retried(upstream.region.name, "upload", reason)
        return ""

    async def _upload(self, upstream: Upstream, scope: _Scope, picture: Picture) -> str:
        policy, fresh = await self._policy(upstream, scope)
        try:
            return await self._post(upstream, policy, picture)
        except _Failed as failed:
            if fresh or failed.status != 403:
                raise
        # By the storage's own clock the policy may have expired.
        self._calls.upstream_retried(upstream.region.name, "upload", "status")
        self._forget(scope, policy)
        policy, _ = await self._policy(upstream, scope)
        return await self._post(upstream, policy, picture)

    async def _policy(self, upstream: Upstream, scope: _Scope) -> tuple[UploadPolicy, bool]:
        """Return a policy that outlives this upload, and whether it is a new one."""
        async with self._policy_locks[scope]:
            if (cached := self._policies.get(scope)) is not None:
                return cached.policy, False
            requested = self._clock.now()
            policy = await self._request_policy(upstream, scope[-1])
            until = requested + policy.seconds - self._limits.upload
            self._policies[scope] = _CachedPolicy(policy, until)
            return policy, True

    def _forget(self, scope: _Scope, policy: UploadPolicy) -> None:
        cached = self._policies.get(scope)
        if cached is not None and cached.policy is policy:
            del self._policies[scope]

    async def _request_policy(self, upstream: Upstream, model: str) -> UploadPolicy:
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
        target = _storage_url(policy, upstream)
        form = upload_form(
            policy,
            picture.content,
            picture.media_type,
            unique=uuid4().hex,
            boundary=uuid4().hex,
        )
        client = self._clients.of(upstream, Purpose.DOWNLOAD)  # it carries no key
        request = client.build_request(
            "POST",
            target.url,
            content=_FormStream(form),
            headers={"Content-Type": form.content_type, "Content-Length": str(form.length)},
            extensions={"target": target.target},
        )
        answer = await self._send(upstream, client, request)
        if answer.status_code != 200:
            raise _Failed("status", answer.status_code)
        return form.url

    async def _send(
        self, upstream: Upstream, client: Client, request: httpx.Request
    ) -> httpx.Response:
        with counted_call(self._calls, self._clock, upstream.region.name, "upload") as call:
            answer = await client.send(request)
            call.code = str(answer.status_code)
        return answer


class _FormStream(httpx.AsyncByteStream):
    def __init__(self, form: UploadForm) -> None:
        self._form = form

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._form.pieces():
            yield piece


def _storage_url(policy: UploadPolicy, upstream: Upstream) -> ResultUrl:
    """Return where to post to: DashScope's own storage, by https unless on loopback."""
    try:
        url = check_result_url(policy.host, upstream.region.result_hosts)
    except ResultUnavailable as exc:
        raise _Failed("content") from exc
    if not url.origin.startswith("https://") and not is_loopback(httpx.URL(url.origin).host):
        raise _Failed("content")
    return url
