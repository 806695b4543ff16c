"""A client's calls: through the real SDK, and over a bare socket for those who hang up."""

import json
import select
import socket
import struct
import time
from base64 import b64decode
from typing import Any

import httpx
import httpx2
from openai import APIError, APIStatusError, DefaultHttpxClient, OpenAI
from openai.types import ImagesResponse

from gateway.sandbox.pictures import read_labels
from tests.chaos.notes import Note
from tests.chaos.wishes import GENERATION, Wish, picture, picture_sha256, prompt_sha256

_TRY_SECONDS = 60.0


def customer_key(tenant: str) -> str:
    return f"wk-chaos-{tenant}"


class _CutTransport(httpx2.HTTPTransport):
    """The way to the gateway, which can break just behind the last byte of an answer."""

    breaks = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = super().handle_request(request)
        if self.breaks and answer.status_code == 200:
            answer.read()
            answer.close()
            self.breaks = False
            raise httpx2.ReadError("broken after the last byte", request=request)
        return answer


class SdkCalls:
    """One person's OpenAI client; keeps its connections over wishes, as programs do."""

    def __init__(self, url: str) -> None:
        self._note: Note | None = None
        self._transport = _CutTransport()
        http = DefaultHttpxClient(
            trust_env=False,
            transport=self._transport,
            event_hooks={"response": [self._write_down]},
        )
        self._client = OpenAI(base_url=f"{url}/v1", api_key="-", http_client=http)

    def close(self) -> None:
        self._client.close()

    def break_the_next(self) -> None:
        """Lose the next answer on its last yard; the SDK itself asks again, marked."""
        self._transport.breaks = True

    def edit(self, note: Note, *, marked: bool = False) -> None:
        """
        Call once, with the SDK's own retries, and write down what came of it.

        Args:
            note: Of whose wish.
            marked: The first try says that it is a retry already.
        """
        wish, self._note = note.wish, note
        headers = {} if wish.key is None else {"Idempotency-Key": wish.key}
        if marked:
            headers["x-stainless-retry-count"] = "1"
        client = self._client.with_options(
            api_key=customer_key(wish.tenant), timeout=wish.timeout, max_retries=wish.retries
        )
        due = self._transport.breaks
        try:
            result = _called(client, wish, headers)
        except APIStatusError as refused:
            note.end("raised", code=str(refused.code), retry=_should_retry(refused.response))
        except APIError as broken:
            note.end("raised", code=type(broken).__name__)
        else:
            take(note, [entry.b64_json or "" for entry in result.data or ()])
        if due and not self._transport.breaks:
            note.end("broken", code="behind the last byte")

    def _write_down(self, answer: Any) -> None:
        assert self._note is not None
        code = str(answer.status_code) if answer.status_code < 400 else code_of(answer.read())
        edit = answer.headers.get("x-wan-edit-id", "")
        self._note.end("answer", code=code, retry=_should_retry(answer), edit=edit)


def _called(client: OpenAI, wish: Wish, headers: dict[str, str]) -> ImagesResponse:
    images = client.images.with_raw_response
    if wish.model == GENERATION:
        answer = images.generate(prompt=wish.prompt, model=wish.model, extra_headers=headers)
    else:
        answer = images.edit(
            image=("picture.png", picture(wish), "image/png"),
            prompt=wish.prompt,
            model=wish.model,
            extra_headers=headers,
        )
    return answer.parse()


def take(note: Note, pictures_b64: list[str]) -> None:
    """Look at what came: is it one picture, made of this wish's picture by its prompt?"""
    wish = note.wish
    if len(pictures_b64) != 1:
        note.wrong = f"{len(pictures_b64)} pictures"
        return
    labels = read_labels(b64decode(pictures_b64[0]))
    note.served = labels.get("sandbox-task", "")
    if labels.get("sandbox-prompt-sha256") != prompt_sha256(wish):
        note.wrong = "another prompt's"
    elif labels.get("sandbox-input-sha256", "") != picture_sha256(wish):
        note.wrong = "of another picture"


def code_of(body: bytes) -> str:
    """Return the code of an OpenAI error body."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return f"no envelope: {body[:60]!r}"


def _should_retry(answer: Any) -> str:
    return str(answer.headers.get("x-should-retry", ""))


class ClientCall:
    """A request that was sent whole over a socket of its own; `close` hangs up with a reset."""

    def __init__(self, wish: Wish, url: str) -> None:
        address = httpx.URL(url)
        self._transport = _opened(address)
        _send(self._transport, wish, address)

    def close(self) -> None:
        self._transport.close()


def _opened(address: httpx.URL) -> socket.socket:
    line = socket.create_connection((address.host, address.port or 80), 5.0)
    # A reset: whatever is still under way is lost for good.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return line


def call_and_leave(note: Note, url: str) -> None:
    """Call over a socket of our own and hang up as the wish says, unless the answer is there."""
    wish = note.wish
    address = httpx.URL(url)
    try:
        with _opened(address) as line:
            _send(line, wish, address)
            _wait_and_leave(line, note)
    except OSError as broken:
        note.end("broken", code=type(broken).__name__)


def _send(line: socket.socket, wish: Wish, address: httpx.URL) -> None:
    headers = {"authorization": f"Bearer {customer_key(wish.tenant)}", "connection": "close"}
    if wish.key is not None:
        headers["idempotency-key"] = wish.key
    fields = {"prompt": wish.prompt, "model": wish.model}
    path, body = "/v1/images/generations", dict[str, Any](json=fields)
    if wish.model != GENERATION:
        file = ("picture.png", picture(wish), "image/png")
        path, body = "/v1/images/edits", {"data": fields, "files": {"image": file}}
    request = httpx.Request("POST", address.copy_with(path=path), headers=headers, **body)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    line.sendall(whole[: len(whole) // 2] if wish.leave == "reading" else whole)


def _wait_and_leave(line: socket.socket, note: Note) -> None:
    wish = note.wish
    patience = _TRY_SECONDS if wish.leave == "answering" else wish.leave_after
    answered, _, _ = select.select([line], [], [], patience)
    # What has come is looked at before leaving: one who has the picture has not left.
    if not answered or (wish.leave == "answering" and line.recv(12).endswith(b"200")):
        note.end("left", code=wish.leave)
    elif wish.leave == "answering":
        note.end("broken", code="no answer to leave")
    else:
        _read_answer(line, note)


def _read_answer(line: socket.socket, note: Note) -> None:
    line.settimeout(_TRY_SECONDS)
    came = bytearray()
    until = time.monotonic() + _TRY_SECONDS
    while time.monotonic() < until and (piece := line.recv(1 << 16)):
        came += piece
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    status, _, rest = head.decode("latin-1").partition("\r\n")
    fields = [row.partition(": ") for row in rest.split("\r\n")]
    headers = httpx.Headers([(name, value) for name, _, value in fields])
    if not status or len(body) < int(headers.get("content-length", "0")):
        note.end("broken", code="cut short")
        return
    ok = status.split()[1] == "200"
    code = "200" if ok else code_of(body)
    retry, edit = headers.get("x-should-retry", ""), headers.get("x-wan-edit-id", "")
    note.end("answer", code=code, retry=retry, edit=edit)
    if ok:
        take(note, [entry["b64_json"] for entry in json.loads(body)["data"]])
