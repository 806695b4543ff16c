"""Requests with junk in their head: methods, paths, queries and headers."""

from hypothesis import strategies as st

from tests.fuzz.wire import Shot

_METHODS = (b"POST", b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PATCH", b"TRACE", b"FOO")
_PATHS = (
    *(b"/v1/images/edits", b"/images/edits", b"/v1/images/edits/", b"/v1/images/variations"),
    *(b"/v1/images/generations", b"/v1/models", b"/v1/models/", b"/v1/models/a%2Fb"),
    *(b"/v1/images/edits/edit_0", b"/openai/deployments/x/images/edits", b"/openai/v1/models"),
    *(b"/healthz", b"/", b"*", b"//", b"/v1/../metrics", b"/%00", b"/%ff"),
)
_HEADERS = (
    *(b"idempotency-key", b"prefer", b"x-stainless-retry-count", b"x-stainless-lang"),
    *(b"expect", b"accept", b"accept-encoding", b"origin", b"api-key", b"x-request-id"),
    *(b"content-encoding", b"x-forwarded-for", b"cookie", b"range", b"user-agent"),
)
_VALUES = (b"", b"1", b"-1", b"99999999999", b"nan", b"respond-async", b"100-continue", b"gzip")

_CONTROLS = bytes((*range(32), 127))
_visible = st.builds(
    lambda raw, controls: raw.translate(None, controls),
    st.binary(max_size=300),
    st.sampled_from([b"\r\n\0", _CONTROLS, _CONTROLS + b" "]),
)
_lines = st.tuples(
    st.sampled_from(_HEADERS), st.one_of(st.sampled_from(_VALUES), _visible, st.just(b"x" * 5000))
)


@st.composite
def heads(draw: st.DrawFn) -> Shot:
    """Nothing here is an edit; every answer is a known one."""
    path = draw(st.one_of(st.sampled_from(_PATHS), _visible.map(lambda raw: b"/" + raw[:50])))
    query = draw(st.one_of(st.just(b""), _visible.map(lambda raw: b"?" + raw[:50])))
    return Shot(
        draw(st.sampled_from([b"", b"{}", b"x" * 200])),
        draw(st.one_of(st.sampled_from([b"application/json", b"text/plain", b""]), _visible)),
        start=draw(st.sampled_from(_METHODS)) + b" " + path + query + b" HTTP/1.1",
        headers=tuple(draw(st.lists(_lines, max_size=5))),
    )
