"""DashScope's task calls over HTTP; no httpx exception and no status leaves this room."""

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
from gateway.domain.models import MODELS, Model
from gateway.domain.quotes import redact_prompt
from gateway.domain.task import Accepted, Task, TaskPage, TaskStatus
from gateway.domain.tenant import Upstream
from gateway.translate.dashscope_request import SubmitBody, list_query, submit_body
from gateway.translate.dashscope_task import read_page, read_task
from gateway.upstream.clients import Clients, Purpose
from gateway.upstream.downloads import Incoming, Results
from gateway.upstream.ports import UpstreamCalls
from gateway.upstream.server_clock import ServerClock
from gateway.upstream.submission import Outgoing, body_of, broken, refusal, request_id_of, settled
from gateway.upstream.uploads import Uploads

_TASKS = "/tasks"
# The read timeout starts when the body has gone out; a line slower than this, or one that
# stands still, is given up as well.
_SUBMIT_PATIENCE = {Purpose.SUBMIT: 90.0, Purpose.SUBMIT_AND_WAIT: 330.0}  # seconds
_SLOWEST_UPLOAD = 64 * 1024  # bytes a second
_CALL_PATIENCE = 15.0  # seconds for a fetch, list or cancel from first to last byte


class DashScopeApi:
    """
    Answers gateway.edits.ports.DashScope.

    Args:
        clients: Carry the calls; closed by their owner.
        clock: Times the calls and paces the downloads.
        calls: Told of every call.
        inline_bytes: The largest submit that holds its pictures; those of a larger one go
            up first.
    """

    def __init__(
        self,
        clients: Clients,
        clock: Clock,
        calls: UpstreamCalls,
        inline_bytes: float = math.inf,
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._calls = calls
        self._inline_bytes = inline_bytes
        self._results = Results(clients, clock, calls)
        self._uploads = Uploads(clients, clock, calls)
        self._server_clock_by_region: dict[str, ServerClock] = defaultdict(ServerClock)
        self._heard: set[str] = set()

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        """Bring *pictures* up if the submit would be too large with them; it costs nothing."""
        if submit_body(edit, part, pictures).length <= self._inline_bytes:
            return pictures
        return await self._uploads.lift(upstream, edit.model, pictures)

    async def submit(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> Accepted:
        """Send it once; gateway.upstream.submission tells what each end proves."""
        model = MODELS[edit.model]
        body = submit_body(edit, part, pictures)
        outgoing = Outgoing(body, self._clock)
        purpose = Purpose.SUBMIT if model.has_tasks else Purpose.SUBMIT_AND_WAIT
        patience = _SUBMIT_PATIENCE[purpose] + body.length / _SLOWEST_UPLOAD
        request = self._clients.of(upstream, purpose).build_request(
            "POST", model.path, content=outgoing, headers=_submit_headers(model, body, pictures)
        )
        try:
            answer = await self._send(upstream, purpose, "submit", request, patience)
        except Exception as exc:
            # Whatever broke, foreseen or not: a byte may have gone out.
            raise broken(exc, outgoing) from exc
        try:
            return _settled(answer, model, pictures)
        except GatewayError as error:
            redact_prompt(error, edit.texts)
            if isinstance(error, SubmitUncertain) and error.refusal is not None:
                redact_prompt(error.refusal, edit.texts)
            raise

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        path = f"{_TASKS}/{quote(task_id, safe='')}"
        task = read_task(await self._call(upstream, "poll", "GET", path))
        if task.task_id not in ("", task_id):
            raise UpstreamFailed("The upstream's answer tells of another task.")
        return task

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        path = f"{_TASKS}/{quote(task_id, safe='')}/cancel"
        try:
            said = await self._call(upstream, "cancel", "POST", path)
        except GatewayError as exc:
            # dashscope.md 4.3: it runs or has ended.
            if exc.upstream_code == "UnsupportedOperation":
                return False
            raise
        if not said["request_id"]:  # all that DashScope answers; a portal's page does not
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
        return await self._results.open(upstream, url)

    async def download(self, upstream: Upstream, url: str) -> bytes:
        return await self._results.download(upstream, url)

    def clock_known(self, region: str) -> bool:
        """Return whether *region* has answered; one that tells no time has answered as well."""
        return region in self._heard

    def clock_offset(self, region: str) -> float:
        """Return how many seconds the clock of *region* is ahead of ours; 0 until it is known."""
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
        Return the JSON object of a call that costs nothing and may be repeated.

        Raises:
            GatewayError: no answer, or one that is no success.
        """
        client = self._clients.of(upstream, Purpose.CALL)
        request = client.build_request(method, path, params=query)
        try:
            answer = await self._send(upstream, Purpose.CALL, operation, request, _CALL_PATIENCE)
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
        patience: float,
    ) -> httpx.Response:
        """Send *request* within *patience* seconds, count it, and learn upstream's time."""
        began = self._clock.now()
        code = "error"
        try:
            async with asyncio.timeout(patience):
                answer = await self._clients.of(upstream, purpose).send(request)
            code = str(answer.status_code)
        finally:
            self._calls.upstream_call(
                upstream.region.name, operation, code, self._clock.now() - began
            )
        self._heard.add(upstream.region.name)
        clock = self._server_clock_by_region[upstream.region.name]
        clock.learn(answer, asked=began, answered=self._clock.now())
        return answer


def _is_clients(picture: Picture) -> bool:
    """Whether DashScope fetches *picture* from where its client says that it is."""
    return picture.url.startswith(("https://", "http://"))


def _settled(answer: httpx.Response, model: Model, pictures: tuple[Picture, ...]) -> Accepted:
    try:
        return settled(answer, model)
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
    if model.has_tasks:  # each kind is refused in the other's way (dashscope.md 9)
        headers["X-DashScope-Async"] = "enable"
    if any(picture.url.startswith("oss://") for picture in pictures):
        headers["X-DashScope-OssResourceResolve"] = "enable"
    return headers
