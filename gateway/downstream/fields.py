"""The fields of a form as they are received: texts in their charset, pictures as they come."""

from io import BytesIO

from gateway.domain.errors import RequestTooLarge
from gateway.downstream.body import Limits
from gateway.translate.charsets import decoded
from gateway.translate.picture_text import PictureText

_CHARSET = "_charset_"
"""RFC 7578 4.6: the field that names the charset of texts that declare none."""


class TextField:
    """A text whose charset may be told by a field that comes later."""

    def __init__(self, name: str, charset: str, fields: "Fields") -> None:
        self.name = name
        self.charset = charset
        self._fields = fields
        self._content = BytesIO()

    @property
    def content(self) -> bytes:
        return self._content.getvalue()

    def feed(self, piece: bytes) -> None:
        self._fields.count_text(self.name, len(piece))
        self._content.write(piece)


class Fields:
    """
    Collects fields in the order received.

    Args:
        limits: ``max_text_bytes`` is what all texts together may be.
        charset: Of texts that declare none.
    """

    def __init__(self, limits: Limits, charset: str = "") -> None:
        self._most = limits.max_text_bytes
        self._charset = charset
        self._texts = 0
        self._given: list[tuple[str, TextField | PictureText]] = []

    def text(self, name: str, charset: str = "") -> TextField:
        return TextField(name, charset, self)

    def count_text(self, name: str, n: int) -> None:
        """Count *n* bytes more of text; RequestTooLarge if they are too many."""
        self._texts += n
        if self._texts > self._most:
            raise RequestTooLarge(
                f"The texts of your form are over {self._most} bytes at '{name[:64]}'.",
                param=name[:64],
            )

    def add(self, name: str, value: TextField | PictureText) -> None:
        """Take a field that is complete."""
        if isinstance(value, PictureText):
            value.end()
        elif name == _CHARSET:
            self._charset = decoded(value.content, "ascii", name).strip()
            return
        self._given.append((name, value))

    def received(self) -> list[tuple[str, str | PictureText]]:
        """
        Return name and value of each.

        Raises:
            InvalidRequest: a text is not valid in its charset.
        """
        return [
            (name, value)
            if isinstance(value, PictureText)
            else (name, decoded(value.content, value.charset or self._charset, name))
            for name, value in self._given
        ]
