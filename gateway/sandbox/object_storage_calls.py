"""The calls to object storage: upload policy, upload and download (sections 5 and 8)."""

import re
from collections.abc import Iterator
from hashlib import md5
from itertools import chain

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from starlette.requests import Request
from starlette.responses import Response

from gateway.sandbox.calls import ApiCall
from gateway.sandbox.region import SimulatedRegion
from gateway.sandbox.responses import OssRefusal, Refusal, reply
from gateway.sandbox.tasks import SandboxTask

UPLOAD_PATH = "/oss/uploads"

_MEDIA_TYPE = re.compile(r'multipart/form-data;.*boundary="?([^";]+)', re.IGNORECASE)


async def create_policy(call: ApiCall) -> Response:
    """
    Return an upload policy.

    Raises:
        Refusal: 400 for another action, or for a missing model.
    """
    caller = call.caller("policy")
    query = call.request.query_params
    if query.get("action") != "getPolicy" or not query.get("model"):
        raise Refusal(400, "InvalidParameter", "Invalid request parameters.")
    host = f"{call.region.base(call.request)}{UPLOAD_PATH}"
    data = call.region.uploads.create_policy(
        caller.account, query["model"], host, call.request_id, call.region.epoch()
    )
    return reply(call.request_id, {"data": data})


async def upload(call: ApiCall) -> Response:
    """
    Store a posted file.

    Raises:
        OssRefusal: The form is malformed, or the policy does not allow it.
    """
    form, data = await _form(call.request)

    async def work() -> Response:
        call.region.uploads.store(form, data, call.region.epoch())
        return Response(status_code=200, headers={"server": "AliyunOSS"})

    return await call.respond(call.fault(), work)


async def _form(request: Request) -> tuple[dict[str, str], bytes | None]:
    media_type = _MEDIA_TYPE.match(request.headers.get("content-type", ""))
    if not media_type:
        raise OssRefusal(400, "MalformedPOSTRequest", "The body is not multipart/form-data.")
    form: dict[str, str] = {}
    try:
        for name, value in _fields(await request.body(), media_type[1]):
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
    # An empty piece ends the input; the parser raises if that is too early.
    for event in chain(parser.parse(body), parser.parse(b"")):
        if isinstance(event, MultipartSegment):
            name = event.name or ""
            value = bytearray()
        elif event is None:
            yield name, bytes(value)
        else:
            value += event


async def refuse_access(call: ApiCall) -> Response:
    """Refuse to return an uploaded file: uploads are private."""
    raise OssRefusal(403, "AccessDenied", f"{call.request.method} is not allowed here.")


_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")


async def download(call: ApiCall) -> Response:
    """
    Return a result to anyone with its signed URL, which must come without a key.

    Raises:
        OssRefusal: 400, 403 or 404.
    """
    region = call.region
    request = call.request
    path = f"/results/{request.path_params['path']}"
    region.signer.check(
        path, request.query_params, request.headers.get("authorization"), region.epoch()
    )
    task, index = _result(region, path)

    async def work() -> Response:
        png = await region.pictures.png(task, index)
        task.downloads[index] += 1
        return _range_response(png, request.headers.get("range"), _etag(task, index))

    return await call.respond(call.fault_for_task(task), work)


def _result(region: SimulatedRegion, path: str) -> tuple[SandboxTask, int]:
    # The signature is valid, so `result_path` made this path.
    task_id, _, index = path.rpartition("/")[2].removesuffix(".png").rpartition("-")
    task = region.tasks.find(task_id, region.advance())
    if task is None:
        raise OssRefusal(404, "NoSuchKey", "The specified key does not exist.")
    return task, int(index)


def _etag(task: SandboxTask, index: int) -> str:
    digest = md5(f"{task.id}-{index}".encode(), usedforsecurity=False).hexdigest()
    return f'"{digest.upper()}"'


def _range_response(data: bytes, range_header: str | None, etag: str) -> Response:
    headers = {"etag": etag, "accept-ranges": "bytes", "server": "AliyunOSS"}
    span = _span(range_header, len(data)) if range_header else None
    if span is None:
        # Object storage ignores a range that it cannot serve, and sends the whole object.
        return Response(data, headers=headers, media_type="image/png")
    first, last = span
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, media_type="image/png")


def _span(range_header: str, total: int) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(range_header.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        first = max(0, total - int(match[2]))
        last = total - 1
    else:
        first = int(match[1])
        last = int(match[2]) if match[2] else total - 1
    return (first, last) if first <= last < total else None
