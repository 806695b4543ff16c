"""
The official dashscope SDK: the same edits in threads, submit to downloaded picture.

python -m benchmarks.sdk STUB_PORT PICTURE EDITS AT_ONCE

Prints JSON: ``{"cpu_seconds": float, "seconds": [float, ...], "peak_mb": float}``; the CPU is
this process's own, without its start and one edit for each thread.
"""

import base64
import json
import resource
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dashscope
from dashscope import ImageSynthesis

from benchmarks.load import MODEL


class SdkClient:
    def __init__(self, picture: Path) -> None:
        self._picture = picture

    def edit(self, number: int) -> float:
        began = time.monotonic()
        content = base64.b64encode(self._picture.read_bytes()).decode("ascii")
        done = ImageSynthesis.call(
            model=MODEL,
            prompt=f"edit {number}",
            images=[f"data:image/jpeg;base64,{content}"],
            n=1,
            api_key="sk-bench",
        )
        with urllib.request.urlopen(done.output.results[0].url) as picture:  # noqa: S310 - the stub's
            base64.b64encode(picture.read())
        return time.monotonic() - began


def main(stub: int, picture: Path, edits: int, at_once: int) -> None:
    dashscope.base_http_api_url = f"http://127.0.0.1:{stub}/api/v1"
    client = SdkClient(picture)
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(client.edit, range(at_once)))
        cpu = time.process_time()
        seconds = list(threads.map(client.edit, range(at_once, at_once + edits)))
        cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_seconds": cpu, "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    _, stub, picture, edits, at_once = sys.argv
    main(int(stub), Path(picture), int(edits), int(at_once))
