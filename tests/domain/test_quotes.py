"""What upstream quotes of a client's prompt is neither told nor kept."""

import html
import json
import unicodedata
from urllib.parse import quote

import pytest

from gateway.domain.errors import UpstreamFailed
from gateway.domain.quotes import redact_prompt

PROMPT = 'Give Ms. Zoë Müller\n a "blue" hat & put her before the café in Łódź'
WIDE = "把照片里的张伟换成蓝色的衣服，背景是上海外滩"


def without_quotes(text: str, *texts: str) -> str:
    error = UpstreamFailed(f"The upstream failed: {text}")
    error.upstream_text = error.upstream_message = text
    redact_prompt(error, texts)

    assert str(error) == error.message
    assert error.message == f"The upstream failed: {error.upstream_text}"
    assert error.upstream_message == error.upstream_text
    return error.upstream_text


@pytest.mark.parametrize(
    "quoted",
    [
        pytest.param(PROMPT, id="whole"),
        pytest.param(PROMPT[5:40], id="a piece"),
        pytest.param(PROMPT[:30] + "...", id="cut"),
        pytest.param(PROMPT.upper(), id="capitals"),
        pytest.param(" ".join(PROMPT.split()), id="one line"),
        pytest.param(json.dumps(PROMPT), id="as JSON"),
        pytest.param(json.dumps(PROMPT, ensure_ascii=False), id="as JSON in UTF-8"),
        pytest.param(html.escape(PROMPT), id="as HTML"),
        pytest.param(quote(PROMPT), id="as a URL"),
        pytest.param(unicodedata.normalize("NFD", PROMPT), id="NFD"),
        pytest.param(repr(PROMPT), id="as Python has it"),
    ],
)
def test_a_quoted_prompt(quoted: str) -> None:
    """Whatever it is written like, no word of it is left, and the rest is."""
    text = without_quotes(f"Input {quoted} may contain inappropriate content.", PROMPT)

    assert text.startswith("Input ")
    assert text.endswith("may contain inappropriate content.")
    assert "[prompt]" in text
    folded = unicodedata.normalize("NFKD", text.casefold())
    assert not [word for word in ("ller", "blue", "hat ", "caf") if word in folded]


@pytest.mark.parametrize(
    ("text", "message", "left"),
    [
        pytest.param(WIDE, f"内容 {WIDE} 不合规", "内容 [prompt] 不合规", id="Chinese"),
        pytest.param(WIDE, f"词语“{WIDE[5:7]}”不合规", "词语“[prompt]”不合规", id="quoted word"),
        pytest.param("nude", "The nude is refused.", "The [prompt] is refused.", id="short"),
        pytest.param("cat", "In the category of cats.", "In the category of cats.", id="in words"),
        pytest.param("a", "A picture failed.", "A picture failed.", id="one letter"),
        pytest.param("🎨", "A picture failed.", "A picture failed.", id="no letter"),
        pytest.param(
            PROMPT,
            "The word 'Zoë Müller' is refused.",
            "The word '[prompt]' is refused.",
            id="name",
        ),
        pytest.param(PROMPT, "The size '1*1' is bad.", "The size '1*1' is bad.", id="not ours"),
        pytest.param(PROMPT, "It says '' and fails.", "It says '' and fails.", id="empty quotes"),
        pytest.param(PROMPT, "It says '!!' and fails.", "It says '!!' and fails.", id="signs"),
        pytest.param(
            "make the image bigger",
            "The image size is not supported.",
            "The image size is not supported.",
            id="a few common words",
        ),
    ],
)
def test_pieces(text: str, message: str, left: str) -> None:
    """A piece is known by its length, by quotes, or as a whole; common words stay."""
    assert without_quotes(message, text) == left


def test_several_texts() -> None:
    """The negative prompt is the client's as well."""
    text = without_quotes(
        "Prompt 'a red hat' and negative prompt 'blurry' fail.", "a red hat", "blurry"
    )

    assert text == "Prompt '[prompt]' and negative prompt '[prompt]' fail."


def test_a_prompt_that_is_not_known_any_more() -> None:
    """After a restart nothing of what upstream said can be told apart, so all is withheld."""
    assert without_quotes("Input 'a red hat' fails.") == "[withheld]"


def test_our_own_words_stay() -> None:
    """An error in which upstream says nothing is as it was."""
    error = UpstreamFailed("The upstream did not answer a red hat.")

    redact_prompt(error, ("a red hat",))

    assert error.message == "The upstream did not answer a red hat."
