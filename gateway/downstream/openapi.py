"""
The description of what this gateway serves, as an OpenAPI 3.1 document.

Fields, their values and the errors are taken from the tables that the code itself uses; a test
compares the paths, methods, headers and codes with those that are served. There is nothing of a
config in it, so it needs no key.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson

from gateway import __version__
from gateway.domain.errors import GatewayError
from gateway.domain.models import Operation
from gateway.translate.openai_fields import (
    FIELDS,
    OBJECTS,
    OUTPUT_FORMATS,
    JsonValue,
    OneOf,
    Reader,
    WholeNumber,
    truth,
)

_Object = dict[str, Any]

_WITH_V1 = {"url": "/v1", "description": "OpenAI's base URL."}
_BASES = [
    _WITH_V1,
    {"url": "/", "description": "A base URL without /v1."},
    {"url": "/openai/v1", "description": "Azure's of today."},
    {"url": "/openai", "description": "Azure's of before, without a deployment."},
]
_DEPLOYMENT = {
    "url": "/openai/deployments/{deployment}",
    "description": "Azure's of before.",
    "variables": {
        "deployment": {
            "default": "gpt-image-2",
            "description": "The model, unless the body names one that exists.",
        }
    },
}
_IMAGES = [*_BASES, _DEPLOYMENT]
_ROOT = [{"url": "/"}]
_NO_KEY: _Object = {"security": []}
_JSON = "application/json"

_HEADERS = {
    "x-request-id": "Names the request in the log.",
    "openai-processing-ms": "Milliseconds from the head of the request to the head of the answer.",
    "openai-version": "As OpenAI sends it.",
    "server-timing": "The phases in milliseconds; they add up to the whole.",
    "x-should-retry": "true or false: whether a retry makes sense. OpenAI's SDKs obey it.",
    "retry-after": "Seconds until a retry makes sense, up to 60.",
    "retry-after-ms": "The same in milliseconds.",
    "x-wan-edit-id": "The edit, once there is one; by it the edit can be fetched.",
    "x-wan-region": "Where the edit is made.",
    "x-wan-task-id": "DashScope's ids of the edit's tasks.",
    "x-wan-upstream-request-id": "DashScope's ids of the edit's submits.",
    "x-wan-adjusted": "How pictures and size were brought into the model's rules.",
    "x-wan-ignored-params": "The fields without effect.",
    "x-wan-cost": "What the edit cost by list prices, such as 0.20 CNY, if the operator shows it.",
    "x-wan-images": "How many pictures were asked for and delivered, where some are missing.",
    "idempotent-replayed": "true: an Idempotency-Key brought back a delivered edit.",
    "location": "Where an accepted edit can be fetched.",
    "preference-applied": "respond-async, where it was granted.",
    "www-authenticate": "Bearer.",
    "allow": "The methods of the path.",
    "accept-encoding": "The encodings that a body may have.",
    "accept-ranges": "bytes: a part of a picture can be fetched.",
    "cache-control": "private, for as long as the URL lives.",
    "content-disposition": "The name of a picture's file.",
    "content-range": "Which bytes of the picture are sent.",
    "etag": "Of these bytes; for if-none-match and if-range.",
    "last-modified": "When the picture was written.",
}
_OF_ALL = ("x-request-id", "openai-processing-ms", "openai-version", "server-timing")
_OF_AN_EDIT = ("x-wan-edit-id", "x-wan-region", "x-wan-task-id", "x-wan-upstream-request-id")
_OF_A_RESULT = (
    *_OF_AN_EDIT,
    "x-wan-adjusted",
    "x-wan-ignored-params",
    "x-wan-cost",
    "x-wan-images",
    "idempotent-replayed",
)
_OF_A_FILE = (*("accept-ranges", "cache-control", "content-disposition", "etag", "last-modified"),)
_OF_A_RETRY = ("retry-after", "retry-after-ms")

_ERRORS: Mapping[int, tuple[str, tuple[str, ...]]] = {
    400: ("A field, a picture or the body is wrong, or the content was refused.", ()),
    401: ("No key, or an unknown one.", ("www-authenticate",)),
    403: ("A web page calls where no key is asked for; a signed URL is wrong or has expired.", ()),
    404: ("No such edit of this tenant, model, picture or path.", ()),
    405: ("The path has other methods.", ("allow",)),
    408: ("The body did not arrive in time.", _OF_A_RETRY),
    410: ("OpenAI has retired it.", ()),
    413: ("Too many bytes or parts.", ()),
    415: ("The body is not compressed once by gzip or deflate.", ("accept-encoding",)),
    416: ("The range begins behind the picture's end.", ("content-range",)),
    422: ("The Idempotency-Key was used for other content.", ()),
    429: ("The queue is full, or the wait too long; nothing was submitted.", _OF_A_RETRY),
    500: ("The edit failed; x-should-retry says what to do.", (*_OF_AN_EDIT, *_OF_A_RETRY)),
    503: ("Not now, or not yet; a retry joins its edit.", (*_OF_AN_EDIT, *_OF_A_RETRY)),
}
"""What happened, and the headers beside those of every error, by status."""
_OTHER_CODES = (
    "invalid_request",
    "invalid_request_body",
    "invalid_signature",
    "missing_required_parameter",
    "model_not_found",
    "result_not_found",
    "string_above_max_length",
    "unknown_parameter",
    "unknown_url",
    "unsupported_content_type",
    "url_expired",
)
"""Codes that some errors have instead of their class's own."""
_OF_A_KEY = (401, 403)
_OF_A_POST = (400, *_OF_A_KEY, 408, 413, 415, 422, 429, 500, 503)
_OF_AN_ID = (*_OF_A_KEY, 404, 500, 503)

_PARAMETERS: Mapping[str, tuple[str, _Object, str]] = {
    "idempotency-key": (
        "header",
        {"type": "string", "maxLength": 255},
        "The client's own name of this request, for 24 h: equal content joins or replays.",
    ),
    "prefer": ("header", {"type": "string"}, "respond-async: be answered 202 at once."),
    "x-stainless-retry-count": (
        "header",
        {"type": "integer", "minimum": 0},
        "Of OpenAI's SDKs: 1 and more marks a retry, which joins its edit.",
    ),
    "x-stainless-read-timeout": (
        "header",
        {"type": "number"},
        "Of OpenAI's SDKs: the seconds that the client waits.",
    ),
    "x-stainless-timeout": ("header", {"type": "number"}, "The same, of other SDKs."),
    "x-stainless-lang": ("header", {"type": "string"}, "js: the client waits 290 s at most."),
    "api-version": ("query", {"type": "string"}, "Azure's; any is taken."),
    "edit_id": ("path", {"type": "string"}, "The edit, as x-wan-edit-id names it."),
    "response_format": (
        "query",
        {"enum": ["b64_json", "url"]},
        "The form of the pictures, whatever the edit was created with.",
    ),
    "name": ("path", {"type": "string"}, "The name of a kept picture, as its URL has it."),
    "expires": ("query", {"type": "integer"}, "Until when the URL works: seconds since 1970."),
    "signature": ("query", {"type": "string"}, "The permission to read this one picture."),
    "range": ("header", {"type": "string"}, "One range of bytes."),
    "if-range": ("header", {"type": "string"}, "The etag that a range belongs to."),
    "if-none-match": ("header", {"type": "string"}, "The etag that the client has."),
    "id": ("path", {"type": "string"}, "The name of a model; it may have slashes."),
}
_OF_A_WAIT = (
    "x-stainless-read-timeout",
    "x-stainless-timeout",
    "x-stainless-lang",
    "api-version",
)

_MEANINGS = {
    "prompt": "What to make; as many characters as the model reads.",
    "model": "A name of OpenAI's, one of DashScope's or an alias; absent: the tenant's default.",
    "n": "How many pictures; each is paid for. Absent: 1.",
    "size": "WIDTHxHEIGHT in pixels, or auto. What the model does not make is scaled.",
    "response_format": "Absent: b64_json; where pictures are kept, url under the dall-e names.",
    "output_format": "Absent: png.",
    "output_compression": "The quality of jpeg and webp; absent: 100.",
    "stream": "Answer with server-sent events.",
    "negative_prompt": "DashScope's own: what not to make.",
    "seed": "DashScope's own.",
    "watermark": "DashScope's own.",
    "prompt_extend": "DashScope's own: whether it rewrites the prompt.",
    "prompt_extend_mode": "DashScope's own, of some models: how it rewrites the prompt.",
    "enable_thinking": "DashScope's own, of some models.",
    "thinking_mode": "DashScope's own, of some models, of a prompt without pictures.",
    "bbox_list": "DashScope's own, of some models: boxes in pixels for each picture.",
    "color_palette": "DashScope's own, of some models: colours and their shares.",
    "background": "transparent: with models that make it; otherwise without effect.",
    "complexity": "Whether models that think do so; otherwise without effect.",
}
_WORDS = {"response_format": ("b64_json", "url")}


@cache
def openapi_document() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "wan-gateway",
                "version": __version__,
                "summary": "OpenAI's Images API over Alibaba DashScope.",
                "description": "Every path is served with and without a slash at its end. Models"
                " and options depend on the tenant and the model: /models lists the names.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [_WITH_V1],
            "security": [{"bearer": []}, {"apiKey": []}],
            "paths": _paths(),
            "components": _components(),
        }
    )


def _ref(kind: str, name: str) -> _Object:
    return {"$ref": f"#/components/{kind}/{name}"}


def _headers(*names: str) -> _Object:
    return {name: _ref("headers", name) for name in (*_OF_ALL, *names)}


def _answer(text: str, schema: _Object | None, *headers: str) -> _Object:
    answer: _Object = {"description": text, "headers": _headers(*headers)}
    if schema is not None:
        answer["content"] = {_JSON: {"schema": schema}}
    return answer


def _errors(*statuses: int) -> _Object:
    return {str(status): _ref("responses", str(status)) for status in statuses}


def _takes(*names: str) -> list[_Object]:
    return [_ref("parameters", name) for name in names]


# ---------------------------------------------------------------- paths


def _paths() -> _Object:
    models = _answer("The models.", _ref("schemas", "ModelList"))
    model = _answer("The model.", _ref("schemas", "Model"))
    health = _ref("schemas", "Health")
    ready = _answer("New edits are taken.", health)
    draining = {"503": _answer("The process is about to stop.", health)}
    text = {"schema": {"type": "string"}}
    metrics = _answer("The metrics.", None)
    metrics["content"] = {"text/plain": text, "application/openmetrics-text": text}
    own_key: _Object = {"security": [{}, {"bearer": []}]}
    return {
        **_images("edits", "Edit", {_FORM: "EditForm", _JSON: "EditJson"}),
        **_images("generations", "Generation", {_JSON: "Generation", _FORM: "Generation"}),
        **_kept(),
        "/images/variations": {
            "servers": _IMAGES,
            "post": {
                "operationId": "createVariation",
                "summary": "Retired by OpenAI, and not made here.",
                "deprecated": True,
                **_NO_KEY,
                "responses": _errors(410),
            },
        },
        "/models": {
            "servers": _BASES,
            **_read("Models", "The names that this client may request.", models, _OF_A_KEY),
        },
        "/models/{id}": {
            "servers": _BASES,
            "parameters": _takes("id"),
            **_read("Model", "One of them.", model, (*_OF_A_KEY, 404)),
        },
        "/healthz": {
            "servers": _ROOT,
            **_read("Health", "The process lives.", _answer("It does.", health), **_NO_KEY),
        },
        "/readyz": {
            "servers": _ROOT,
            **_read("Readiness", "The process takes edits.", ready, others=draining, **_NO_KEY),
        },
        "/metrics": {
            "servers": _ROOT,
            **_read(
                "Metrics", "Metrics, unless on a port of their own.", metrics, (400, 401), **own_key
            ),
        },
        "/openapi.json": {
            "servers": _ROOT,
            **_read("Document", "This document.", _answer("It.", {"type": "object"}), **_NO_KEY),
        },
    }


_FORM = "multipart/form-data"


def _images(path: str, name: str, bodies: Mapping[str, str]) -> _Object:
    status = _ref("schemas", "EditStatus")
    pictures = _answer("The pictures.", _ref("schemas", "Images"), *_OF_A_RESULT)
    events = {"schema": {"type": "string", "description": "Events whose data is a Completed."}}
    streamed = {**pictures, "content": {**pictures["content"], "text/event-stream": events}}
    ended = _answer("It has ended.", status, *_OF_AN_EDIT)
    running = _answer("It has not ended.", status, *_OF_AN_EDIT)
    accepted = _answer("It will be made.", status, *_OF_AN_EDIT, "location", "preference-applied")
    return {
        f"/images/{path}": {
            "servers": _IMAGES,
            "parameters": _takes(
                "idempotency-key", "prefer", "x-stainless-retry-count", *_OF_A_WAIT
            ),
            "post": {
                "operationId": f"create{name}",
                "summary": f"Make one of the {path}; with pictures it is an edit of them.",
                "requestBody": {
                    "required": True,
                    "content": {
                        kind: {"schema": _ref("schemas", body)} for kind, body in bodies.items()
                    },
                },
                "responses": {"200": streamed, "202": accepted, **_errors(*_OF_A_POST)},
            },
        },
        f"/images/{path}/{{edit_id}}": {
            "servers": _IMAGES,
            "parameters": _takes("edit_id", "response_format", *_OF_A_WAIT),
            **_read(
                name,
                "Fetch its pictures, or its status while it has not ended.",
                pictures,
                _OF_AN_ID,
                others={"202": running},
            ),
            "delete": {
                "operationId": f"cancel{name}",
                "summary": "Cancel it as far as that costs nothing; a running task goes on.",
                "responses": {"200": ended, "202": running, **_errors(*_OF_AN_ID)},
            },
        },
    }


def _kept() -> _Object:
    """Return the paths of pictures that are answered by URL, served where ``[results]`` is on."""
    kinds: _Object = {"image/png": {}, "image/jpeg": {}, "image/webp": {}}
    whole = {**_answer("The picture.", None, *_OF_A_FILE), "content": kinds}
    part = {**_answer("A part of it.", None, *_OF_A_FILE, "content-range"), "content": kinds}
    known = _answer("The client has it already.", None, *_OF_A_FILE)
    reading = _read(
        "Result",
        "Fetch a kept picture; the signature is the permission.",
        whole,
        (403, 404, 416, 503),
        others={"206": part, "304": known},
        parameters=_takes("expires", "signature", "range", "if-range", "if-none-match"),
        **_NO_KEY,
    )
    deleted = _answer("It is deleted.", _ref("schemas", "DeletedResult"))
    all_deleted = _answer("They are deleted.", _ref("schemas", "DeletedResults"))
    return {
        "/images/results": {
            "servers": _IMAGES,
            "delete": {
                "operationId": "deleteResults",
                "summary": "Delete every kept picture of this tenant.",
                "responses": {"200": all_deleted, **_errors(*_OF_A_KEY, 503)},
            },
        },
        "/images/results/{name}": {
            "servers": _IMAGES,
            "parameters": _takes("name"),
            **reading,
            "delete": {
                "operationId": "deleteResult",
                "summary": "Delete a kept picture of this tenant.",
                "responses": {"200": deleted, **_errors(*_OF_A_KEY, 404, 503)},
            },
        },
    }


def _read(
    name: str,
    summary: str,
    answer: _Object,
    errors: tuple[int, ...] = (),
    *,
    others: Mapping[str, _Object] | None = None,
    **more: object,
) -> _Object:
    """Return GET, and HEAD, which is the same without bodies."""
    answers = {"200": answer, **(others or {})}
    heads = {
        status: {key: value for key, value in one.items() if key != "content"}
        for status, one in answers.items()
    }
    return {
        "get": {
            "operationId": f"get{name}",
            "summary": summary,
            **more,
            "responses": {**answers, **_errors(*errors)},
        },
        "head": {
            "operationId": f"head{name}",
            "summary": "As GET, without the body.",
            **more,
            "responses": {**heads, **_errors(*errors)},
        },
    }


# ---------------------------------------------------------------- components


def _components() -> _Object:
    return {
        "schemas": _schemas(),
        "responses": {
            str(status): _answer(text, _ref("schemas", "ErrorBody"), "x-should-retry", *headers)
            for status, (text, headers) in _ERRORS.items()
        },
        "parameters": {
            name: {
                "name": name,
                "in": place,
                "required": place == "path",
                "description": text,
                "schema": schema,
            }
            for name, (place, schema, text) in _PARAMETERS.items()
        },
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        },
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
        },
    }


def _schemas() -> _Object:
    text: _Object = {"type": "string"}
    whole: _Object = {"type": "integer"}
    base64: _Object = {"type": "string", "contentEncoding": "base64"}
    file: _Object = {"type": "string", "contentMediaType": "application/octet-stream"}
    url: _Object = {"type": "string", "description": "An https URL, a data URL or base64."}
    picture: _Object = {"oneOf": [url, _object(["image_url"], image_url=url)]}
    a_list = {"type": "array", "minItems": 1}
    pictures = {**a_list, "items": _ref("schemas", "Picture")}
    formats: _Object = {"enum": OUTPUT_FORMATS}
    return {
        "Picture": picture,
        "EditForm": _body(Operation.EDIT, image={**a_list, "items": file}, mask=file, markup=file),
        "EditJson": _body(
            Operation.EDIT,
            images=pictures,
            mask=_ref("schemas", "Picture"),
            markup=_ref("schemas", "Picture"),
        ),
        "Generation": _body(
            Operation.GENERATE, image={"oneOf": [_ref("schemas", "Picture"), pictures]}
        ),
        "Images": _object(
            ["created", "data"],
            created=whole,
            data={**a_list, "items": _ref("schemas", "Image")},
            output_format=formats,
            size=text,
        ),
        "Image": {
            "oneOf": [
                _object(["b64_json"], b64_json=base64, revised_prompt=text),
                _object(["url"], url=text, revised_prompt=text),
            ]
        },
        "DeletedResult": _object(
            None, id=text, object={"const": "image.result"}, deleted={"const": True}
        ),
        "DeletedResults": _object(None, object={"const": "list"}, deleted=whole),
        "Completed": _object(
            ["type", "created_at", "size", "quality", "background", "output_format", "usage"],
            type={"enum": ["image_edit.completed", "image_generation.completed"]},
            b64_json=base64,
            url={"type": "string", "description": "In the place of b64_json."},
            created_at=whole,
            size=text,
            quality={"const": "auto"},
            background={"const": "auto"},
            output_format=formats,
            usage={"type": "object", "description": "Zeros: DashScope counts no tokens."},
        ),
        "EditStatus": _object(
            None,
            id=text,
            object={"enum": ["image.edit", "image.generation"]},
            status={"enum": ["waiting", "submitting", "running", "succeeded", "failed"]},
            created=whole,
        ),
        "ModelList": _object(
            None,
            object={"const": "list"},
            data={"type": "array", "items": _ref("schemas", "Model")},
        ),
        "Model": _object(None, id=text, object={"const": "model"}, created=whole, owned_by=text),
        "Health": _object(None, status={"enum": ["ok", "ready", "draining"]}),
        "ErrorBody": _object(None, error=_ref("schemas", "Error")),
        "Error": _object(
            ["message", "type", "param", "code"],
            message=text,
            type={"enum": sorted({error.type for error in _error_classes()})},
            param={"type": ["string", "null"], "description": "The field to change."},
            code={"enum": sorted({*_OTHER_CODES, *(it.code for it in _error_classes())})},
            edit_id=text,
        ),
    }


def _object(required: list[str] | None, **properties: _Object) -> _Object:
    """Return the schema of an object without other *properties*; ``None``: all are required."""
    return {
        "type": "object",
        "required": list(properties) if required is None else required,
        "properties": properties,
        "additionalProperties": False,
    }


def _body(operation: Operation, **pictures: _Object) -> _Object:
    """Return the schema of a request: other names than these are listed or refused."""
    fields = {name: _field(name, read) for name, read in FIELDS[operation].items()}
    return {"type": "object", "required": ["prompt"], "properties": {**pictures, **fields}}


def _field(name: str, read: Reader) -> _Object:
    schema: _Object = {"type": "string"}
    if isinstance(read, WholeNumber):
        schema = {"type": "integer", "minimum": read.least, "maximum": read.most}
    elif isinstance(read, OneOf):
        schema["enum"] = read.choices
    elif read is truth:
        schema = {"type": "boolean"}
    elif isinstance(read, JsonValue):
        schema = {"type": "array"}
    elif name in OBJECTS:
        schema = {"type": "object"}
    elif name in _WORDS:
        schema["enum"] = _WORDS[name]
    return {**schema, "description": _MEANINGS.get(name, "Without effect.")}


def _error_classes() -> Iterator[type[GatewayError]]:
    kinds = [*GatewayError.__subclasses__()]
    for kind in kinds:
        yield kind
        kinds += kind.__subclasses__()
