"""What a region may be told."""

import pytest

from gateway.sandbox import SandboxConfig


def test_key_belongs_to_one_account() -> None:
    """One key cannot belong to two accounts."""
    with pytest.raises(ValueError, match="one and two share a key"):
        SandboxConfig(accounts={"one": ("sk-a",), "two": ("sk-a",)})


def test_speed_is_positive() -> None:
    """A region that stands still is refused."""
    with pytest.raises(ValueError, match="speed"):
        SandboxConfig(speed=0)


def test_keys_are_not_shown() -> None:
    """A config's repr holds no key."""
    assert "sk-canary" not in repr(SandboxConfig(accounts={"one": ("sk-canary",)}))
