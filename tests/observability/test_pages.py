"""docs/runbook.md and docs/metrics.md say what is so."""

import json
import re

import pytest

from gateway.sandbox import read_fault
from tests.observability.metrics_page import PAGE, page
from tests.observability.shipped import RUNBOOK, alerts

_SECTIONS = dict(
    re.findall(
        r"^## (WanGateway\w+)\n\n(.*?)(?=^## )",
        RUNBOOK.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def test_metrics_page_is_of_the_code() -> None:
    """The page of metrics is what the code, the rules and the dashboards make it."""
    reported = PAGE.read_text("utf-8")

    assert reported == page(), "run python -m tests.observability.metrics_page"


def test_runbook_has_a_section_for_each_alert() -> None:
    """The runbook goes through the alerts in the order of their file, and through no others."""
    assert list(_SECTIONS) == list(alerts())


@pytest.mark.parametrize("name", list(_SECTIONS))
def test_section_is_whole(name: str) -> None:
    """A section says what it means, who notices, where to look, what to do and how to try it."""
    points = re.findall(r"^- \*\*(.+?):\*\* \S", _SECTIONS[name], re.MULTILINE)

    assert [it for it in points if it != "Counted"] == [
        "Means",
        "Clients see",
        "Look at",
        "Do",
        "Try it",
    ]


@pytest.mark.parametrize("name", list(_SECTIONS))
def test_faults_are_the_sandboxs(name: str) -> None:
    """What a section scripts, the sandbox takes."""
    for reported in re.findall(r"`(\{.+?\})`", _SECTIONS[name].partition("**Try it:**")[2]):
        fault = json.loads(reported)

        assert read_fault(fault).on == fault["on"]


def test_links_within_lead_somewhere() -> None:
    """A link to another section names one."""
    text = RUNBOOK.read_text("utf-8")
    anchors = {it.lower() for it in re.findall(r"^## (\w+)$", text, re.MULTILINE)}

    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= anchors
