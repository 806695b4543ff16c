"""GET of a result: the object storage beside the region (reference section 8)."""

import re
from hashlib import md5

from starlette.responses import Response

from gateway.sandbox.answers import OssRefusal
from gateway.sandbox.doors import Call
from gateway.sandbox.region import Region
from gateway.sandbox.task import Task

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")


async def download(call: Call) -> Response:
    """
    Serve one result to whoever holds its signed URL; no key is needed, and none is allowed.

    Raises:
        OssRefusal: 400, 403 or 404, in XML.
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
        return _part(png, request.headers.get("range"), _etag(task, index))

    return await call.play(call.fault_about(task), work)


def _result(region: Region, path: str) -> tuple[Task, int]:
    # The signature has proven that the path is one of ours, made by `result_path`.
    task_id, _, index = path.rpartition("/")[2].removesuffix(".png").rpartition("-")
    task = region.books.find(task_id, region.settled_now())
    if task is None:
        raise OssRefusal(404, "NoSuchKey", "The specified key does not exist.")
    return task, int(index)


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
        first = max(0, total - int(match[2]))
        last = total - 1
    else:
        first = int(match[1])
        last = int(match[2]) if match[2] else total - 1
    return (first, last) if first <= last < total else None
