"""Result downloads and the upload host: the object storage beside the region (sections 5, 8)."""

import re
from hashlib import md5
from io import BytesIO

from multipart import MultipartError, MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from gateway.sandbox.answers import OssRefusal, Refusal, reply
from gateway.sandbox.doors import Call
from gateway.sandbox.region import Region
from gateway.sandbox.signed_urls import result_path
from gateway.sandbox.task import Task

_NAME = re.compile(r".*/([0-9a-f-]{36})-([0-9])\.png")
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
UPLOAD_PATH = "/oss/uploads"


async def download(call: Call) -> Response:
    """
    Serve one result to whoever holds its signed URL; no key is needed, and none is allowed.

    Raises:
        OssRefusal: 400, 403 or 404, in XML.
    """
    region, request = call.region, call.request
    path = f"/results/{request.path_params['path']}"
    region.signer.check(
        path, request.query_params, request.headers.get("authorization"), region.epoch()
    )
    task, index = _result(region, path)

    async def work() -> Response:
        png = await region.pictures.png(task, index)
        task.downloads[index] += 1
        return _part(png, request.headers.get("range"), _etag(task, index))

    return await call.play(call.fault_about(task), work)


def _result(region: Region, path: str) -> tuple[Task, int]:
    match = _NAME.fullmatch(path)
    now = region.settled_now()
    task = region.books.find(match[1], now) if match else None
    if (
        match is None
        or task is None
        or task.ended is None
        or task.status(now) != "SUCCEEDED"
        or int(match[2]) >= task.order.n
        or int(match[2]) in task.failures
        or path != result_path(task, int(match[2]), region.zero + task.ended)
    ):
        raise OssRefusal(404, "NoSuchKey", "The specified key does not exist.")
    return task, int(match[2])


def _etag(task: Task, index: int) -> str:
    digest = md5(f"{task.id}-{index}".encode(), usedforsecurity=False).hexdigest()
    return f'"{digest.upper()}"'


def _part(data: bytes, wanted: str | None, etag: str) -> Response:
    headers = {"etag": etag, "accept-ranges": "bytes", "server": "AliyunOSS"}
    span = _span(wanted, len(data)) if wanted else None
    if span is None:
        # Object storage answers a range that it cannot serve with the whole object.
        return Response(data, headers=headers, media_type="image/png")
    first, last = span
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, media_type="image/png")


def _span(wanted: str, total: int) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(wanted.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, last = max(0, total - int(match[2])), total - 1
    else:
        first, last = int(match[1]), int(match[2]) if match[2] else total - 1
    return (first, last) if first <= last < total else None


async def policy(call: Call) -> Response:
    """
    Hand out an upload policy.

    Raises:
        Refusal: 400 for another action, or without a model.
    """
    caller, query = call.caller("policy"), call.request.query_params
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
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary")
    if kind != "multipart/form-data" or not boundary:
        raise OssRefusal(400, "MalformedPOSTRequest", "The body is no multipart/form-data.")
    body = BytesIO(await request.body())
    form: dict[str, str] = {}
    try:
        for part in MultipartParser(body, boundary):
            if part.name == "file":
                return form, part.raw
            form[part.name] = part.value
    except MultipartError as exc:
        raise OssRefusal(400, "MalformedPOSTRequest", "The body is not well-formed.") from exc
    return form, None


async def closed(call: Call) -> Response:
    """Refuse to show an uploaded file: its access is private."""
    raise OssRefusal(403, "AccessDenied", f"{call.request.method} is not allowed here.")
