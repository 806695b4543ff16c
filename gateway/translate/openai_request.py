"""Plain fields of a client's request → Edit: mapped, refused or listed, never dropped."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.domain.edit import Edit, OutputOptions, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest, UnknownModel
from gateway.domain.models import Catalog, Model, Operation, Sizes
from gateway.translate import size_rule
from gateway.translate.openai_fields import (
    DASHSCOPES,
    FIELDS,
    JSON_VALUED,
    NAMES,
    OBJECTS,
    OPTIONS,
    WITHOUT_EFFECT,
    Reader,
    shown,
    too_long,
    too_many_tokens,
)
from gateway.translate.openai_json import JsonScan, flatten, parse_json
from gateway.translate.openai_pictures import (
    carries_picture,
    is_file_id,
    is_picture,
    refuse_picture,
)
from gateway.translate.tokens import estimate_tokens

_NESTED = re.compile(r"(?:extra_body|parameters|input)\[([^\[\]]+)\](.*)", re.DOTALL)
_AS_JSON = frozenset({"extra_body", "parameters"})
_DOES_INSTEAD = {
    Operation.EDIT: (
        "makes pictures of a prompt alone: ask for it without one, at /v1/images/generations"
    ),
    Operation.GENERATE: "edits pictures: send it with them to /v1/images/edits",
}
_TRANSPARENT = "\n\nThe background is fully transparent: a PNG with an alpha channel."
_BOM = "\ufeff"  # which editors on Windows put in front of a text
_BY_URL = frozenset({"dall-e-2", "dall-e-3"})
"""Models whose answers are URLs unless something else is requested (openai.md 2.1)."""
_LONGEST_NAME = 200
_MOST_IGNORED = 32  # they are listed in a header, and proxies limit headers to 4 KiB


def edit_of(
    fields: Sequence[tuple[str, str]],
    *,
    catalog: Catalog,
    deployment: str = "",
    strict: bool,
    fit: bool,
    keeps: bool = False,
) -> Edit:
    """
    Check the fields of one request; docs/reference/fields.md is the contract.

    DashScope's own fields may also come as ``parameters[seed]``, ``extra_body[seed]`` (the
    SDK's flattening of nested values) or as JSON in the text of ``parameters``. An empty
    text and ``null`` count as absent. Pictures among the fields are skipped: see
    openai_pictures.

    Args:
        fields: Name and text, in the order sent, repeated names and all.
        catalog: The models of this path.
        deployment: The model in an Azure path; a known model in the form has precedence.
        strict: Whether an unknown field is refused; else it is listed as ignored.
        fit: Whether a size that DashScope does not make is made by scaling; else it is refused.
        keeps: Whether the gateway keeps pictures, so that a URL may lead to any of them (D112);
            else it leads to DashScope's own file.

    Raises:
        InvalidRequest: ``param`` is the field to change.
        UnknownModel: ``model`` is not in the catalog.
    """
    values, ignored = _read(fields, FIELDS[catalog.operation], strict=strict)
    name = _requested_model(values.get("model"), deployment, catalog)
    model = _resolve_model(name or catalog.default, catalog)
    _check_texts(values, model)
    _check_options(values, model, catalog.operation)
    sizes = model.sizes_of(catalog.operation)
    edit = _edit(values, model, sizes, ignored, fit=fit, keeps=keeps)
    edit = replace(edit, model_asked=name or "", options=_options(values))
    edit = _with_complexity(edit, values.get("complexity"), model, catalog.operation)
    if values.get("background") == "transparent":
        edit = _transparent(edit, model, catalog)
    if keeps and name in _BY_URL and "response_format" not in values and not edit.output.stream:
        output = replace(edit.output, response_format=ResponseFormat.URL, url_by_default=True)
        edit = replace(edit, output=output)
    return edit


def _edit(
    values: Mapping[str, Any],
    model: Model,
    sizes: Sizes,
    ignored: Iterable[str],
    *,
    fit: bool,
    keeps: bool,
) -> Edit:
    output = _output_options(values, sizes, fit=fit, keeps=keeps)
    requested: Size | None = values.get("size")
    size = None if requested is None else size_rule.size_to_ask(requested, sizes)
    return Edit(
        model=model.name,
        prompt=values["prompt"],
        n=values.get("n", 1),
        negative_prompt=values.get("negative_prompt"),
        size=size,
        seed=values.get("seed"),
        watermark=values.get("watermark"),
        prompt_extend=values.get("prompt_extend"),
        output=output,
        ignored=tuple(_without_effect(ignored, output)),
        adjusted=() if size == requested else (f"size:{size or 'model'}->{requested}",),
    )


def most_pictures(fields: Iterable[tuple[str, str]], catalog: Catalog, deployment: str = "") -> int:
    """Return how many pictures the model takes that *fields* ask for, as edit_of will find it."""
    names = (text.strip() for name, text in fields if _plain_name(name) == "model")
    sent = next((name for name in names if name), None)
    name = _requested_model(sent, deployment, catalog) or catalog.default
    model = catalog.model_of(name) or catalog.models.get(catalog.default)
    return (model or _resolve_model(name, catalog)).inputs.most


def _check_texts(values: Mapping[str, Any], model: Model) -> None:
    """Refuse a text that DashScope would truncate silently, and a missing prompt."""
    prompt = values.get("prompt", "")
    if model.prompt_in_tokens:
        if (tokens := estimate_tokens(prompt)) > model.most_prompt:
            raise too_many_tokens("prompt", model.most_prompt, tokens)
    elif len(prompt) > model.most_prompt:
        raise too_long("prompt", model.most_prompt, len(prompt))
    if len(text := values.get("negative_prompt", "")) > model.most_negative:
        raise too_long("negative_prompt", model.most_negative, len(text))
    if not prompt:
        raise InvalidRequest(
            "Missing required parameter: 'prompt'.",
            param="prompt",
            code="missing_required_parameter",
        )


def _options(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the options of some models as JSON by name."""
    given = ((name, values[name]) for name in OPTIONS if name in values)
    return tuple(
        (name, value if name in JSON_VALUED else orjson.dumps(value).decode())
        for name, value in given
    )


_THINKING = ("thinking_mode", "enable_thinking")


def _with_complexity(
    edit: Edit, complexity: str | None, model: Model, operation: Operation
) -> Edit:
    """Map OpenAI's effort of planning to thinking, where the model has that; else it is listed."""
    has = [it for it in _THINKING if it in model.options and not _needs_text_alone(it, operation)]
    if complexity is None or not has:
        return edit
    ignored = tuple(name for name in edit.ignored if _plain_name(name) != "complexity")
    options = edit.options
    if not any(name in _THINKING for name, _ in options):
        options = (*options, (has[0], "false" if complexity == "low" else "true"))
    return replace(edit, ignored=ignored, options=options)


def _needs_text_alone(name: str, operation: Operation) -> bool:
    return name == "thinking_mode" and operation is Operation.EDIT


def _transparent(edit: Edit, model: Model, catalog: Catalog) -> Edit:
    """
    Ask for a transparent background, in words: DashScope has no parameter for it (D111).

    Raises:
        InvalidRequest: the model does not make such pictures, or the format cannot hold them.
    """
    if not model.transparent:
        able = dict.fromkeys(it.name for it in catalog.models.values() if it.transparent)
        remedy = f", or use {' or '.join(able)}" if able else ""
        raise InvalidRequest(
            f"Invalid value for 'background': the model '{model.name}' makes no transparent"
            f" pictures. Send 'auto' or 'opaque'{remedy}.",
            param="background",
        )
    if edit.output.output_format == "jpeg":
        raise InvalidRequest(
            "Invalid value for 'background': a JPEG cannot be transparent. Use output_format 'png'"
            " or 'webp'.",
            param="background",
        )
    ignored = tuple(name for name in edit.ignored if _plain_name(name) != "background")
    edit = replace(edit, prompt=edit.prompt + _TRANSPARENT, transparent=True, ignored=ignored)
    _check_texts({"prompt": edit.prompt}, model)
    return edit


def _check_options(values: Mapping[str, Any], model: Model, operation: Operation) -> None:
    """Refuse a parameter of DashScope's that the model does not have: it might be ignored."""
    if operation is Operation.EDIT and values.get("prompt_extend_mode") == "agent":
        raise InvalidRequest(
            "Invalid value for 'prompt_extend_mode': 'agent' is for a prompt without pictures."
            " Send 'direct', or leave it out.",
            param="prompt_extend_mode",
        )
    if "thinking_mode" in values and _needs_text_alone("thinking_mode", operation):
        raise InvalidRequest(
            "'thinking_mode' is for a prompt without pictures. Leave it out.",
            param="thinking_mode",
        )
    if "bbox_list" in values and operation is Operation.GENERATE:
        raise InvalidRequest(
            "'bbox_list' marks places in pictures, and there are none. Leave it out.",
            param="bbox_list",
        )
    for name in DASHSCOPES:
        if name in values and name not in model.options:
            taken = ", ".join(f"'{it}'" for it in DASHSCOPES if it in model.options)
            raise InvalidRequest(
                f"The model '{model.name}' has no '{name}'. Leave it out, or use another model."
                f" Of DashScope's own parameters it takes {taken or 'none'}.",
                param=name,
            )


def _output_options(
    values: Mapping[str, Any], sizes: Sizes, *, fit: bool, keeps: bool
) -> OutputOptions:
    """Return the output options; a URL of DashScope's refers to its picture as it is."""
    requested: Size | None = values.get("size")
    output_format = values.get("output_format", "png")
    response_format = values.get("response_format", ResponseFormat.B64_JSON)
    form = OutputOptions(
        response_format=response_format,
        output_format=output_format,
        compression=None if output_format == "png" else values.get("output_compression"),
        scale_to=None if response_format is ResponseFormat.URL and not keeps else requested,
        stream=values.get("stream", False),
    )
    scaled = requested is not None and not size_rule.is_legal(requested, sizes)
    if requested is not None and scaled:
        _check_scaling(requested, sizes, fit=fit)
    if form.response_format is ResponseFormat.URL and not keeps:
        _check_own_file(form, scaled=scaled)
    return form


def _check_own_file(form: OutputOptions, *, scaled: bool) -> None:
    """Refuse what DashScope's own URL cannot lead to."""
    if form.stream:
        raise InvalidRequest(
            "A stream brings the pictures themselves: with 'stream' leave 'response_format' out"
            " or send 'b64_json'.",
            param="response_format",
        )
    if scaled or not form.passes_through:
        field = "size" if scaled else "output_format"
        raise InvalidRequest(
            f"With response_format 'url' you get DashScope's own file: '{field}' can only be"
            " what DashScope makes itself. Use response_format 'b64_json', or leave"
            f" '{field}' out.",
            param=field,
        )


def _check_scaling(requested: Size, sizes: Sizes, *, fit: bool) -> None:
    if not fit:
        nearest = size_rule.nearest_legal(requested, sizes)
        rule = size_rule.describe_rule(sizes)
        raise InvalidRequest(
            f"Invalid size '{requested}': {rule}. The nearest is {nearest}.", param="size"
        )
    if not size_rule.is_scalable(requested, sizes):
        rule = size_rule.describe_scaled_rule(sizes)
        raise InvalidRequest(f"Invalid size '{requested}': {rule}.", param="size")


def _without_effect(ignored: Iterable[str], answer: OutputOptions) -> Iterator[str]:
    """Yield the fields without effect; a compression is one for a png only."""
    for name in ignored:
        if answer.output_format == "png" or _plain_name(name) != "output_compression":
            yield name


def _read(
    fields: Sequence[tuple[str, str]], readers: Mapping[str, Reader], *, strict: bool
) -> tuple[dict[str, Any], dict[str, None]]:
    """Return the values by field, and the ignored names in the order sent."""
    values: dict[str, Any] = {}
    ignored: dict[str, None] = {}
    for sent, text in _each_field(fields):
        name = _plain_name(sent)
        if is_picture(sent):
            continue
        if is_picture(name):  # inside another field, where it would be ignored
            raise refuse_picture(sent)
        if (read := readers.get(name)) is None:
            _refuse_unknown(sent, name, text, strict=strict)
            ignored[_fit_for_header(sent)] = None
            continue
        value = read(name, text)
        if values.setdefault(name, value) != value:
            raise InvalidRequest(
                f"Duplicate parameter: '{name}'. You provided several different values for it;"
                " send one.",
                param=name,
            )
        if name in WITHOUT_EFFECT:
            ignored[_fit_for_header(sent)] = None
    if len(ignored) > _MOST_IGNORED:
        raise InvalidRequest(
            f"Too many parameters without a meaning here: {len(ignored)}, such as"
            f" '{next(iter(ignored))}'.",
            code="unknown_parameter",
        )
    return values, ignored


def _each_field(fields: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the fields that are there, those inside a JSON text one by one."""
    for name, sent in fields:
        text = sent.removeprefix(_BOM)
        if "\0" in text:
            raise InvalidRequest(
                f"The field '{shown(name)}' has a NUL character (U+0000) in it. Take it out.",
                param=shown(name),
            )
        if text.strip() in ("", "null"):
            continue
        if _plain_name(name) in _AS_JSON:
            yield from _each_field(_expand_json(name, text))
        else:
            yield name, text


def _expand_json(name: str, text: str) -> list[tuple[str, str]]:
    raw = text.encode()
    scan = JsonScan(len(raw))
    scan.feed(raw)
    scan.end()
    try:
        value = parse_json(scan)
    except InvalidRequest as exc:
        if exc.param is not None:
            raise
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"Invalid value for '{name}': '{shown(text)}'. Expected a JSON object, or its"
            f" members as fields of their own such as '{name}[seed]'.",
            param=name,
        )
    fields = list(flatten(name, value))
    for sent, value in fields:
        if scan.picture(value) is not None:
            raise refuse_picture(sent)
    return fields


def _plain_name(sent: str) -> str:
    """
    Return ``seed`` for ``parameters[seed]`` and for ``extra_body[parameters][seed]``.

    A member of a field that is an object has that field's name: ``svg`` for ``svg[model]``.
    """
    name = sent
    while len(name) <= _LONGEST_NAME and (match := _NESTED.fullmatch(name)):
        name = match[1] + match[2]
    field = name.partition("[")[0]
    return field if field in OBJECTS else name


def _requested_model(sent: str | None, deployment: str, catalog: Catalog) -> str | None:
    """Return the form's model, or the path's where the form has none that exists."""
    if not deployment or (sent is not None and catalog.model_of(sent)):
        return sent
    return deployment if sent is None or catalog.model_of(deployment) else sent


def _resolve_model(name: str, catalog: Catalog) -> Model:
    """Return the model, or refuse *name* with what to do instead."""
    if (model := catalog.model_of(name)) is not None:
        return model
    if not catalog.models:
        raise UnknownModel(
            f"No model that can {catalog.operation.value} is allowed to your key.", param="model"
        )
    message = f"The model '{shown(name)}' does not exist."
    if name in catalog.refused:
        message = f"The model '{shown(name)}' is not allowed to your key."
    elif name in catalog.elsewhere:
        message = f"The model '{shown(name)}' {_DOES_INSTEAD[catalog.operation]}."
    raise UnknownModel(f"{message} Use one of: {', '.join(catalog.models)}.", param="model")


def _refuse_unknown(sent: str, name: str, text: str, *, strict: bool) -> None:
    if is_file_id(name):
        raise InvalidRequest(
            "A 'file_id' cannot be used here: send the image itself, a data URL or an https URL.",
            param="images",
        )
    if carries_picture(name, text):
        raise refuse_picture(shown(sent))
    field = name.partition("[")[0]
    if field in NAMES and field not in WITHOUT_EFFECT:
        raise InvalidRequest(
            f"Invalid type for '{field}': expected one value, but got a list or an object. Send it"
            f" as '{field}'.",
            param=field,
        )
    if strict:
        raise InvalidRequest(
            f"Unknown parameter: '{shown(sent)}'.", param=shown(sent), code="unknown_parameter"
        )


def _fit_for_header(name: str) -> str:
    """Return *name* without what would break a header or its list."""
    return re.sub(r"[^\w.\[\]-]", "?", name, flags=re.ASCII)[:64]
