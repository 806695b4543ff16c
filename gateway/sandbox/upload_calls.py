"""The upload's two calls: the policy, and the form post to object storage (section 5)."""

import re
from collections.abc import Iterator
from itertools import chain

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from starlette.requests import Request
from starlette.responses import Response

from gateway.sandbox.answers import OssRefusal, Refusal, reply
from gateway.sandbox.doors import Call

UPLOAD_PATH = "/oss/uploads"

_KIND = re.compile(r'multipart/form-data;.*boundary="?([^";]+)', re.IGNORECASE)


async def policy(call: Call) -> Response:
    """
    Hand out an upload policy.

    Raises:
        Refusal: 400 for another action, or without a model.
    """
    caller = call.caller("policy")
    query = call.request.query_params
    if query.get("action") != "getPolicy" or not query.get("model"):
        raise Refusal(400, "InvalidParameter", "Invalid request parameters.")
    host = f"{call.region.base(call.request)}{UPLOAD_PATH}"
    data = call.region.uploads.policy(
        caller.account, query["model"], host, call.request_id, call.region.epoch()
    )
    return reply(call.request_id, {"data": data})


async def upload(call: Call) -> Response:
    """
    Store a posted file.

    Raises:
        OssRefusal: In XML, as object storage refuses.
    """
    form, data = await _form(call.request)

    async def work() -> Response:
        call.region.uploads.store(form, data, call.region.epoch())
        return Response(status_code=200, headers={"server": "AliyunOSS"})

    return await call.play(call.fault(), work)


async def _form(request: Request) -> tuple[dict[str, str], bytes | None]:
    kind = _KIND.match(request.headers.get("content-type", ""))
    if not kind:
        raise OssRefusal(400, "MalformedPOSTRequest", "The body is not multipart/form-data.")
    form: dict[str, str] = {}
    try:
        for name, value in _fields(await request.body(), kind[1]):
            if name == "file":
                return form, value
            form[name] = value.decode(errors="replace")
    except MultipartError as exc:
        raise OssRefusal(400, "MalformedPOSTRequest", "The body is not well-formed.") from exc
    return form, None


def _fields(body: bytes, boundary: str) -> Iterator[tuple[str, bytes]]:
    parser = PushMultipartParser(boundary)
    name = ""
    value = bytearray()
    # The empty piece is the end of the input, and an error if it comes too early.
    for event in chain(parser.parse(body), parser.parse(b"")):
        if isinstance(event, MultipartSegment):
            name = event.name or ""
            value = bytearray()
        elif event is None:
            yield name, bytes(value)
        else:
            value += event


async def closed(call: Call) -> Response:
    """Refuse to show an uploaded file: its access is private."""
    raise OssRefusal(403, "AccessDenied", f"{call.request.method} is not allowed here.")
