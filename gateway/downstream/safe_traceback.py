"""Where a bug came from, told without a value of the client's."""

import traceback


def safe_traceback(exc: BaseException) -> str:
    """
    Return the classes and the lines of code of *exc* and of what it came from.

    No messages: they may quote what the client sent.
    """
    lines: list[str] = []
    cause: BaseException | None = exc
    while cause is not None:
        lines += [type(cause).__qualname__, *traceback.format_tb(cause.__traceback__)]
        if isinstance(cause, BaseExceptionGroup):
            lines += [safe_traceback(one) for one in cause.exceptions]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(line.rstrip() for line in lines)
