"""Programs and packages that some tests need: without them they skip, but in CI they fail."""

import os
import shutil
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI") == "true"

# Debian puts nginx where only root's PATH looks.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def found(program: str) -> str | None:
    return shutil.which(program, path=_PATH)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of *programs* is missing; in CI the test runs all the same, and fails."""
    missing = [program for program in programs if found(program) is None]
    reason = f"not installed: {', '.join(missing)}"
    return pytest.mark.skipif(bool(missing) and not IN_CI, reason=reason)


def cannot(reason: str) -> NoReturn:
    """Skip the test that runs; in CI it fails."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)
