from urllib.parse import parse_qs

import pytest

from gateway.results.signatures import ResultSigner, expiry_of

OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40


def parts(
    signer: ResultSigner, name: str = "a.png", expires: int = 1_750_000_000
) -> tuple[str, str]:
    query = parse_qs(signer.query(name, expires))
    return query["expires"][0], query["signature"][0]


def test_own_signature() -> None:
    """What was signed is valid, and the same each time."""
    signer = ResultSigner(NEW)
    expires, signature = parts(signer)

    assert expires == "1750000000"
    assert signer.is_valid("a.png", expires, signature)
    assert parts(ResultSigner(NEW)) == (expires, signature)


@pytest.mark.parametrize(
    ("name", "expires"),
    [("b.png", "1750000000"), ("a.png", "1750000001"), ("a.png", "01750000000"), ("a.png", "")],
)
def test_it_covers_everything(name: str, expires: str) -> None:
    """Another picture or another time, however it is spelled, needs another signature."""
    signer = ResultSigner(NEW)

    assert not signer.is_valid(name, expires, parts(signer)[1])


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\udcff", "0" * 100_000])
def test_wrong_signatures(signature: str) -> None:
    """Whatever is sent as a signature is compared, and is wrong."""
    assert not ResultSigner(NEW, OLD).is_valid("a.png", "1750000000", signature)


def test_rotation() -> None:
    """While the secret is rotated both are accepted, and only the new one signs."""
    both = ResultSigner(NEW, previous=OLD)

    assert both.is_valid("a.png", *parts(ResultSigner(OLD)))
    assert both.is_valid("a.png", *parts(ResultSigner(NEW)))
    assert parts(both) == parts(ResultSigner(NEW))
    assert not ResultSigner(NEW).is_valid("a.png", *parts(ResultSigner(OLD)))


def test_no_secret_is_shown() -> None:
    """Neither secret is in the text of a signer."""
    assert OLD not in repr(ResultSigner(NEW, OLD))
    assert NEW not in repr(ResultSigner(NEW, OLD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1750000000", 1_750_000_000),
        ("", None),
        ("-1", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 13, None),
    ],
)
def test_expiry(text: str, expected: int | None) -> None:
    """Only plain digits are a time, and not too many of them."""
    assert expiry_of(text) == expected
