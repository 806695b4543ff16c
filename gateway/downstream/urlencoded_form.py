"""application/x-www-form-urlencoded → fields, decoded while they arrive."""

from gateway.domain.errors import RequestTooLarge
from gateway.downstream.body import Limits
from gateway.downstream.fields import Fields, TextField
from gateway.translate.charsets import decoded
from gateway.translate.openai_pictures import is_picture, plain_name
from gateway.translate.picture_text import PictureText
from gateway.translate.transfer import Percents


class UrlencodedForm:
    """
    Collects the fields of one body from pieces cut anywhere.

    Args:
        limits: What a body may be at most.
        charset: Of all texts, unless a field ``_charset_`` says otherwise.
    """

    def __init__(self, limits: Limits, charset: str = "") -> None:
        self._limits = limits
        self._fields = Fields(limits, charset)
        self._count = 0
        self._name = b""
        self._decoded_name = ""
        self._value: TextField | PictureText | None = None
        self._percents = Percents()

    def feed(self, piece: bytes) -> None:
        """
        Take the next piece of the body.

        Raises:
            RequestTooLarge: there are too many fields, or their texts are too long.
        """
        self._count += piece.count(b"&")
        if self._count >= self._limits.max_parts:
            raise RequestTooLarge(f"Your form has more than {self._limits.max_parts} fields.")
        first, *others = piece.split(b"&")
        self._take(first)
        for some in others:
            self._close()
            self._take(some)

    def end(self) -> list[tuple[str, str | PictureText]]:
        """
        Return the fields in the order received, once the body has ended.

        Raises:
            InvalidRequest: a field is not what it says it is.
        """
        self._close()
        return self._fields.received()

    def _take(self, some: bytes) -> None:
        if self._value is None:
            name, equals, some = some.partition(b"=")
            self._name += name
            if len(self._name) > self._limits.max_header_bytes:
                raise RequestTooLarge("Your form has a field whose name is too long.")
            if not equals:
                return
            self._value = self._open()
        if isinstance(self._value, TextField):
            some = some.replace(b"+", b" ")  # in base64 it is a + that nobody encoded
        self._value.feed(self._percents.feed(some))

    def _open(self) -> TextField | PictureText:
        percents = Percents()
        raw = percents.feed(self._name.replace(b"+", b" ")) + percents.end()
        name = plain_name(decoded(raw, "", "name of a field"))
        self._decoded_name = name
        return PictureText() if is_picture(name) else self._fields.text(name)

    def _close(self) -> None:
        if self._value is None and self._name:
            self._value = self._open()
        if self._value is not None:
            self._value.feed(self._percents.end())
            self._fields.add(self._decoded_name, self._value)
        self._name = b""
        self._value = None
        self._percents = Percents()
