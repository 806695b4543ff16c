"""What edits cost, by the openai package: x-wan-cost is what the metric counts."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
import pytest

from tests.harness import PLAIN, ThreadedHarness, hashed, photo, start_threaded_harness

_COST = re.compile(
    r'^wan_gateway_image_cost_estimate_total\{currency="(\w+)",model="([^"]+)",region="(\w+)",'
    r'tenant="\w+"\} (\S+)$',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and what Alibaba's list of October 2026 says that it costs."""

    cost: str
    model: str
    inputs: int = 0
    region: str = "beijing"
    n: int = 1
    size: str | None = None
    options: Mapping[str, Any] | None = None


CASES = [
    Case("0.20 CNY", "wan2.5-i2i-preview", inputs=3, size="1024x1024"),
    Case("1.00 CNY", "wan2.5-i2i-preview", inputs=1, n=5, size="1024x1024"),
    Case("0.03 USD", "wan2.7-image", inputs=2, region="singapore"),
    Case("0.50 CNY", "wan2.7-image-pro", size="3840x2160"),
    Case("0.25 CNY", "qwen-image-3.0-pro", size="1024x1024"),
    Case("0.25 CNY", "qwen-image-3.0-pro"),
    Case("1.00 CNY", "qwen-image-3.0-pro", n=2, size="2048x2048"),
    Case("0.075 USD", "qwen-image-3.0-pro", size="2048x2048", region="singapore"),
    Case("0.04 USD", "qwen-image-3.0-pro", size="1024x1024", region="singapore"),
    # The edits of 3.0 follow no size, and come at the dearer one.
    Case("0.54 CNY", "qwen-image-3.0-pro", inputs=2, size="1024x1024"),
    Case("0.20 CNY", "qwen-image-3.0", inputs=1),
    Case("1.30 CNY", "qwen-image-3.0", inputs=1, n=7),
    Case("0.039 USD", "qwen-image-3.0", inputs=3, region="singapore"),
    Case("0.25 CNY", "qwen-image-2.1-pro", inputs=3),
    Case("0.10 CNY", "z-image-turbo"),
    Case("0.20 CNY", "z-image-turbo", options={"prompt_extend": True}),
    Case("0.03 USD", "z-image-turbo", options={"prompt_extend": True}, region="singapore"),
]


@pytest.fixture(scope="module")
def harness() -> Iterator[ThreadedHarness]:
    regions = replace(PLAIN, region="beijing"), replace(PLAIN, region="singapore")
    tenants = {it.region: {"region": it.region, "keys": [hashed(it.region)]} for it in regions}
    with start_threaded_harness(
        *regions, server={"cost_header": True, "port": 0}, tenants=tenants
    ) as made:
        yield made


def counted(harness: ThreadedHarness, region: str, model: str) -> dict[str, float]:
    """Return what the metric says of a model's cost in a region, by currency."""
    text = httpx.get(f"{harness.url}/metrics", trust_env=False).text
    found = _COST.findall(text)
    return {it[0]: float(it[3]) for it in found if it[1:3] == (model, region)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_kind_of_price(harness: ThreadedHarness, case: Case) -> None:
    """The header says what the pictures of a request cost, and the metric rises by that."""
    before = counted(harness, case.region, case.model)
    fields: dict[str, Any] = {"model": case.model, "n": case.n, "extra_body": case.options}
    if case.size:
        fields["size"] = case.size
    with openai.OpenAI(api_key=case.region, base_url=harness.base_url, max_retries=0) as client:
        images = client.images.with_raw_response
        prompt = f"{case}"
        if case.inputs:
            pictures = [photo(shade) for shade in range(case.inputs)]
            reply = images.edit(image=pictures, prompt=prompt, **fields)
        else:
            reply = images.generate(prompt=prompt, **fields)

    assert len(reply.parse().data or []) == case.n
    assert reply.headers["x-wan-cost"] == case.cost
    amount, currency = case.cost.split()
    after = counted(harness, case.region, case.model)
    assert after[currency] - before.get(currency, 0.0) == pytest.approx(float(amount))


def test_a_replay_and_a_get(harness: ThreadedHarness) -> None:
    """They tell what the edit cost, and nothing is counted again."""
    with httpx.Client(
        base_url=harness.base_url,
        headers={"authorization": "Bearer beijing", "idempotency-key": "k"},
        trust_env=False,
        timeout=60.0,
    ) as client:
        body = {"model": "qwen-image-3.0", "prompt": "twice", "size": "1024x1024"}
        replies = [client.post("/images/generations", json=body) for _ in range(2)]
        before = counted(harness, "beijing", "qwen-image-3.0")
        replies.append(client.get(f"/images/generations/{replies[0].headers['x-wan-edit-id']}"))

    assert [reply.headers["x-wan-cost"] for reply in replies] == ["0.18 CNY"] * 3
    assert replies[1].headers["idempotent-replayed"] == "true"
    assert counted(harness, "beijing", "qwen-image-3.0") == before
