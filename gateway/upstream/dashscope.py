"""DashScope's calls over HTTP; no httpx exception and no HTTP status leaves this module."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from gateway.domain.clock import Clock
from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.errors import (
    GatewayError,
    InvalidImage,
    SubmitUncertain,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.domain.intent import Intent
from gateway.domain.models import Model, ModelTable
from gateway.domain.quotes import redact_prompt
from gateway.domain.task import Accepted, Task, TaskPage, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.translate.dashscope_request import SubmitBody, list_query, submit_body
from gateway.translate.dashscope_task import read_page, read_task
from gateway.upstream.calls import CALL_LIMITS, CallLimits, UpstreamCalls, counted_call
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.downloads import Downloads, Incoming
from gateway.upstream.server_clock import ServerClock
from gateway.upstream.submission import (
    Outgoing,
    body_of,
    outcome_of,
    outcome_of_error,
    refusal,
    request_id_of,
)
from gateway.upstream.uploads import Uploads

_TASKS = "/tasks"


class DashScopeApi:
    """
    Implements gateway.edits.ports.DashScope.

    Args:
        clients: Send the calls; closed by their owner.
        clock: Times the calls and paces the downloads.
        calls: Counts every call.
        models: What each model takes.
        inline_bytes: The largest submit that contains its pictures; those of a larger one
            are uploaded first.
        limits: Of the calls; tests pass shorter ones.
    """

    def __init__(
        self,
        clients: Clients,
        clock: Clock,
        calls: UpstreamCalls,
        models: ModelTable,
        inline_bytes: float = math.inf,
        limits: CallLimits = CALL_LIMITS,
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls
        self._models = models
        self.inline_bytes = inline_bytes
        self._limits = limits
        self._downloads = Downloads(clients, clock, calls, limits)
        self._uploads = Uploads(clients, clock, calls, limits)
        self._server_clock_by_region: dict[str, ServerClock] = defaultdict(ServerClock)
        self._answered: set[str] = set()

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """Upload *pictures* if the submit would be too large with them inline; it is free."""
        model = self._models.model(edit.model)
        if submit_body(model, edit, part, pictures).length <= self.inline_bytes:
            return pictures
        return await self._uploads.upload_all(upstream, edit.model, pictures)

    async def submit(
        self,
        upstream: Upstream,
        edit: Edit,
        part: Part,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted:
        """Submit *part* once; gateway.upstream.submission says what each outcome proves."""
        model = self._models.model(edit.model)
        body = submit_body(model, edit, part, pictures)
        outgoing = Outgoing(body, intent)
        # The read timeout of a client starts when the body is sent. These seconds bound the whole
        # submit, so that a slow or stalled connection is given up as well.
        if model.has_tasks:
            purpose = Purpose.SUBMIT
            timeout = self._limits.submit
        else:
            purpose = Purpose.SUBMIT_AND_WAIT
            timeout = self._limits.submit_and_wait
        request = self._clients.of(upstream, purpose).build_request(
            "POST",
            model.path(with_pictures=bool(pictures)),
            content=outgoing,
            headers=_submit_headers(model, body, pictures),
        )
        try:
            answer = await self._send(upstream, purpose, "submit", request, timeout)
        except Exception as exc:
            # Whatever the exception is: a byte may have been sent.
            raise outcome_of_error(exc, outgoing) from exc
        try:
            return _outcome_of(answer, model, pictures)
        except GatewayError as error:
            redact_prompt(error, edit.texts)
            if isinstance(error, SubmitUncertain) and error.refusal is not None:
                redact_prompt(error.refusal, edit.texts)
            raise

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        path = f"{_TASKS}/{quote(task_id, safe='')}"
        task = read_task(await self._call(upstream, "poll", "GET", path))
        if task.task_id not in ("", task_id):
            raise UpstreamFailed("The upstream's answer is of another task.")
        return task

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        path = f"{_TASKS}/{quote(task_id, safe='')}/cancel"
        try:
            body = await self._call(upstream, "cancel", "POST", path)
        except GatewayError as exc:
            # It runs or has ended: dashscope.md 4.3.
            if exc.upstream_code == "UnsupportedOperation":
                return False
            raise
        if not body["request_id"]:  # DashScope sends nothing else; a captive portal sends none
            raise UpstreamFailed("The upstream's answer is not DashScope's.")
        return True

    async def tasks(
        self,
        upstream: Upstream,
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        query = list_query(since, until, status, page, page_size)
        return read_page(await self._call(upstream, "list", "GET", _TASKS, query))

    async def open(self, upstream: Upstream, url: str) -> Incoming:
        return await self._downloads.open(upstream, url)

    async def download(self, upstream: Upstream, url: str) -> bytes:
        return await self._downloads.download(upstream, url)

    def clock_known(self, region: str) -> bool:
        """Return whether *region* has answered, with a ``Date`` header or without (D71)."""
        return region in self._answered

    def clock_offset(self, region: str) -> float:
        """Return by how many seconds the clock of *region* is ahead of ours; 0 until known."""
        zero = self._clock.epoch() - self._clock.now()
        return self._server_clock_by_region[region].offset(zero)

    async def _call(
        self,
        upstream: Upstream,
        operation: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """
        Return the JSON object of a call that is free and may be repeated.

        Raises:
            GatewayError: there is no response, or it is not a success.
        """
        client = self._clients.of(upstream, Purpose.CALL)
        request = client.build_request(method, path, params=query)
        try:
            answer = await self._send(upstream, Purpose.CALL, operation, request, self._limits.call)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise UpstreamUnreachable(
                "The upstream cannot be reached.", upstream_code=type(exc).__name__
            ) from exc
        body = body_of(answer)
        if answer.is_redirect:
            raise UpstreamUnavailable(
                "The upstream's address is wrong; the operator of this gateway has to look"
                " into it.",
                upstream_code=f"HTTP {answer.status_code}",
            )
        if not answer.is_success or body.get("code"):
            raise refusal(answer, body)
        if not body:
            raise UpstreamFailed("The upstream's answer is not a JSON object.")
        return {**body, "request_id": request_id_of(answer, body)}

    async def _send(
        self,
        upstream: Upstream,
        purpose: Purpose,
        operation: str,
        request: httpx.Request,
        timeout: float,
    ) -> httpx.Response:
        """Send *request* within *timeout* seconds, count it, and learn upstream's time."""
        with counted_call(self._calls, self._clock, upstream.region.name, operation) as call:
            async with asyncio.timeout(timeout):
                answer = await self._clients.of(upstream, purpose).send(request)
            call.code = str(answer.status_code)
        self._answered.add(upstream.region.name)
        clock = self._server_clock_by_region[upstream.region.name]
        clock.learn(answer, requested=call.began, answered=self._clock.now())
        return answer


def _is_clients(picture: Picture) -> bool:
    """Return whether DashScope fetches *picture* from a URL that the client sent."""
    return picture.url.startswith(("https://", "http://"))


def _outcome_of(answer: httpx.Response, model: Model, pictures: tuple[Picture, ...]) -> Accepted:
    try:
        return outcome_of(answer, model)
    except UpstreamUnavailable as exc:
        if exc.upstream_code == "InvalidParameter" and any(map(_is_clients, pictures)):
            raise InvalidImage(
                "An image URL was refused by the upstream; send the image itself.",
                param="image",
                upstream_code=exc.upstream_code,
                upstream_request_id=exc.upstream_request_id,
            ) from exc
        raise


def _submit_headers(
    model: Model, body: SubmitBody, pictures: tuple[Picture, ...]
) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Content-Length": str(body.length)}
    if model.has_tasks:  # each kind of model refuses the other kind of call (dashscope.md 9)
        headers["X-DashScope-Async"] = "enable"
    if any(picture.url.startswith("oss://") for picture in pictures):
        headers["X-DashScope-OssResourceResolve"] = "enable"
    return headers
