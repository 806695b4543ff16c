"""Who else there is: a second program on an account, and clients that hang up during a drain."""

import threading
from base64 import b64encode
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from random import Random

import httpx
from PIL import Image

from tests.chaos.calls import ClientCall
from tests.chaos.notes import Note, write_notes
from tests.chaos.region import account_of, upstream_keys
from tests.chaos.wishes import EDIT, ON_SHARED_ACCOUNT, Wish, template, wishes

_SUBMIT = "/api/v1/services/aigc/image2image/image-synthesis"
_LEAVERS = 100
PROMPT_IN_A_DRAIN = "asked in a drain"


def strangers_picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (400, 400), "black").save(file, "PNG")
    return file.getvalue()


class Stranger:
    """Submits tasks of its own to the shared account, with the prompts that the gateway's have."""

    def __init__(self, region_url: str, seed: int) -> None:
        self._dice = Random(f"{seed}:stranger")
        self._over = threading.Event()
        key, _ = upstream_keys(account_of(ON_SHARED_ACCOUNT))
        headers = {"authorization": f"Bearer {key}", "x-dashscope-async": "enable"}
        self._http = httpx.Client(
            base_url=region_url, headers=headers, trust_env=False, timeout=10.0
        )
        self._data = f"data:image/png;base64,{b64encode(strangers_picture()).decode()}"
        self._thread = threading.Thread(target=self._live)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._http.close()

    def _live(self) -> None:
        while not self._over.wait(self._dice.uniform(0.2, 0.6)):
            prompt = template(self._dice.randrange(1000))
            values = {"prompt": prompt, "images": [self._data]}
            body = {"model": "wan2.5-i2i-preview", "input": values, "parameters": {"n": 1}}
            with suppress(httpx.HTTPError):  # whether it has its task is its own affair
                self._http.post(_SUBMIT, json=body)


class Leavers:
    """
    Clients that ask shortly before a drain and hang up in it, while most of them are in the queue.

    Args:
        url: Of the gateway.
        seed: Of their wishes.
        folder: For their notes.
    """

    def __init__(self, url: str, seed: str, folder: Path) -> None:
        self._url = url
        self._file = folder / f"notes-leavers-{seed}.jsonl"
        # No twins: of those who share a task and are all gone it could not be told whose it is.
        some = (
            wish
            for wish in wishes(seed)
            if wish.tenant in {"acme", "globex"} and wish.name[-1].isdigit()
        )
        self.notes = [Note(_leaving(wish)) for wish in islice(some, _LEAVERS)]
        self._calls: list[ClientCall] = []
        self._stack = ExitStack()

    def edit_request(self) -> None:
        """Send every request, and stay on the line."""
        for note in self.notes:
            with suppress(OSError):
                call = self._stack.enter_context(closing(ClientCall(note.wish, self._url)))
                self._calls.append(call)

    def leave(self) -> None:
        """Hang up, and write down when."""
        self._stack.close()
        for note in self.notes:
            note.end("left", code=note.wish.leave)
        write_notes(self._file, self.notes)


def _leaving(wish: Wish) -> Wish:
    name = f"{wish.name}:drain"
    prompt = f"{wish.prompt}, {PROMPT_IN_A_DRAIN}"
    return replace(
        wish, name=name, prompt=prompt, model=EDIT, key=None, leave="draining", back="gone"
    )
