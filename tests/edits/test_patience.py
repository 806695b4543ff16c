import pytest

from gateway.edits.patience import patience, sdk_patience


@pytest.mark.parametrize(
    ("headers", "cut_off", "expected"),
    [
        pytest.param({}, 0, 540.0, id="nobody says"),
        pytest.param({"x-stainless-read-timeout": "600"}, 0, 540.0, id="cap"),
        pytest.param({"x-stainless-read-timeout": "60"}, 0, 58.0, id="python"),
        pytest.param({"x-stainless-timeout": "5"}, 0, 4.5, id="short: a tenth of margin"),
        pytest.param(
            {"x-stainless-read-timeout": "90", "x-stainless-timeout": "60"}, 0, 58.0, id="least"
        ),
        pytest.param({}, 60, 58.0, id="proxy"),
        pytest.param({"x-stainless-timeout": "100"}, 60, 58.0, id="proxy before sdk"),
        pytest.param({"x-stainless-lang": "js"}, 0, 290.0, id="node"),
        pytest.param({"user-agent": "ai/7.0.173 runtime/node.js/22"}, 0, 290.0, id="ai-sdk"),
        pytest.param({"x-stainless-lang": "JS", "x-stainless-timeout": "600"}, 0, 290.0, id="Node"),
        pytest.param(
            {"x-stainless-lang": "js", "x-stainless-timeout": "20"}, 0, 18.0, id="node 20"
        ),
        pytest.param({"x-stainless-lang": "python"}, 0, 540.0, id="python alone"),
        pytest.param({"x-stainless-timeout": "0.01"}, 0, 0.2, id="shortest"),
        pytest.param({"x-stainless-timeout": "None"}, 0, 540.0, id="nonsense"),
        pytest.param({"x-stainless-timeout": "inf"}, 0, 540.0, id="infinite"),
        pytest.param({"x-stainless-timeout": "nan"}, 0, 540.0, id="nan"),
        pytest.param({"x-stainless-timeout": "-3"}, 0, 540.0, id="negative"),
        pytest.param({"x-stainless-timeout": ""}, 0, 540.0, id="empty"),
    ],
)
def test_patience(headers: dict[str, str], cut_off: float, expected: float) -> None:
    """The deadline is the least of all patience, less a margin for the answer's way."""
    seconds = patience(headers, server_cap=540.0, cut_off_seconds=cut_off)

    assert seconds == pytest.approx(expected)


def test_what_the_sdk_says() -> None:
    """The SDK's own patience is the least that it tells; none told is none."""
    both = {"x-stainless-read-timeout": "90", "x-stainless-timeout": "60"}

    assert sdk_patience(both) == 60.0
    assert sdk_patience({"x-stainless-timeout": "no"}) is None
