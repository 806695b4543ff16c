"""Whatever JSON upstream answers, reading it ends with a noun or with a refusal."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.domain.task import TaskStatus
from gateway.translate.dashscope_task import read_accepted, read_answer, read_page, read_task
from gateway.translate.dashscope_upload import read_policy

_NAMES = st.sampled_from(
    [
        "output",
        "task_id",
        "task_status",
        "status",
        "results",
        "choices",
        "message",
        "content",
        "image",
        "url",
        "code",
        "request_id",
        "orig_prompt",
        "data",
        "total",
        "total_page",
        "gmt_create",
        "start_time",
        "submit_time",
        "scheduled_time",
        "end_time",
        "model_name",
        "upload_host",
        "upload_dir",
        "policy",
        "signature",
        "oss_access_key_id",
        "expire_in_seconds",
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([*TaskStatus, "2025-09-23 22:14:10.800", "0001-01-01 00:00:00", "9" * 4999])
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=15,
)
_BODIES = st.dictionaries(_NAMES, _JSON, max_size=6)
_TASKS = st.builds(lambda output: {"output": output}, st.dictionaries(_NAMES, _JSON, max_size=8))


@pytest.mark.parametrize("read", [read_task, read_page, read_accepted, read_answer, read_policy])
@given(body=_BODIES | _TASKS)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused(read: Callable[[Any], object], body: dict[str, Any]) -> None:
    """No type, no missing field and no number is a bug of ours."""
    with suppress(GatewayError):
        read(body)
