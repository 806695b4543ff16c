"""The documents as a test reads them, and the tables of the code that they mirror."""

import json
import re
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path

from gateway.config import config_keys
from gateway.config.model_table import read_models
from gateway.config.table import Table
from gateway.domain.models import ModelLimits, Operation, Sizes
from gateway.domain.price import Price
from gateway.translate.dashscope_fault import ROWS
from tests.models import MODELS, is_snapshot

ROOT = Path(__file__).parents[2]
ENGLISH = ROOT / "README.md"
CHINESE = ROOT / "README.zh-CN.md"
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATHS = {Operation.EDIT: "edits", Operation.GENERATE: "generations"}
_QUOTED = re.compile(r'\["[^]]*"\]|"[^"]*"')


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of code."""

    language: str
    text: str


Row = tuple[str, ...]


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the page's code blocks in these languages; all of them without any."""
    found = [Block(language, text) for language, text in _BLOCK.findall(page.read_text("utf-8"))]
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def headings(page: Path) -> list[int]:
    """Return the level of each heading, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(page), re.MULTILINE)]


def links(page: Path) -> list[str]:
    """Return what the page links to, without the parts behind ``#``."""
    return [to.partition("#")[0] for to in _LINK.findall(prose(page))]


def tables(page: Path) -> list[list[Row]]:
    """Return the cells of each table, without its head."""
    found: list[list[Row]] = []
    rows: list[Row] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def spans(text: str) -> list[str]:
    """Return the pieces of code in a line of text."""
    return _SPAN.findall(text)


def table_with(page: Path, first: str) -> list[Row]:
    """Return the rows of the table whose first row begins with the code *first*."""
    return next(rows for rows in tables(page) if spans(rows[0][0])[:1] == [first])


# ---------------------------------------------------------------- what the tables mirror


def config_rows() -> list[Row]:
    """Return the rows of the table of config keys: key, takes, default, unit, meaning."""
    return [
        (
            f"`{key.path}`",
            _quoted(key.takes),
            _default(key.default),
            key.unit,
            key.meaning if key.live else f"{key.meaning} *Restart.*",
        )
        for key in config_keys()
    ]


def upstream_code_rows() -> list[Row]:
    """Return the rows of docs/dashscope-errors.md: codes, texts, status, our code, retry."""
    codes_by_rest: dict[Row, list[str]] = {}
    for row in sorted(ROWS, key=lambda row: not row.starts):
        error = row.make("")
        text = ", ".join(f"`{start}`" for start in row.starts)
        ours = (f"`{error.status}`", f"`{error.code}`", f"`{str(error.retry).lower()}`")
        codes_by_rest.setdefault((text, *ours), []).append(f"`{row.code}`")
    return [(", ".join(codes), *rest) for rest, codes in codes_by_rest.items()]


def model_rows() -> list[Row]:
    """Return the rows of docs/models.md: what each model does, takes and makes."""
    return [
        (
            f"`{model.name}`",
            ", ".join(_PATHS[it] for it in Operation if model.does(it)),
            f"1 to {model.inputs.most}" if model.inputs.most else "none",
            f"{model.inputs.shortest_side} to {model.inputs.longest_side}"
            if model.inputs.most
            else "",
            f"{model.most_prompt} {'tokens' if model.prompt_in_tokens else 'characters'}",
            _made(model.generation_sizes or model.sizes),
            str(model.most_made),
            "tasks" if model.has_tasks else "its answer",
        )
        for name, model in MODELS.items()
        if not is_snapshot(name)
    ]


def limit_rows() -> list[Row]:
    """Return the rows of docs/models.md, "Limits": what one account may do with each model."""
    rows: list[Row] = []
    for name, model in MODELS.items():
        if is_snapshot(name):
            continue
        apart = {region: _limit(limits)[0] for region, limits in model.limits_by_region}
        submits, running = _limit(model.limits)
        rows.append(
            (
                f"`{name}`",
                "; ".join([submits, *(f"{it} in {region}" for region, it in apart.items())]),
                running,
            )
        )
    return rows


def _limit(limits: ModelLimits) -> tuple[str, str]:
    rate = limits.submits_per_second
    submits = f"{rate:g} per second" if rate >= 1 else f"{60 * rate:g} per minute"
    return submits, str(limits.running_tasks or "no limit")


def price_rows() -> list[Row]:
    """Return the rows of docs/models.md, "Prices": the lists of Beijing and of Singapore."""
    _, listed = read_models(Table("docs", "models", {}))
    rows: list[Row] = []
    for name in MODELS:
        if is_snapshot(name):
            continue
        price = listed["beijing", name]
        same = [f"`{it}`" for it, model in listed if model == name and listed[it, name] == price]
        prices = (_price(price), _price(listed["singapore", name]))
        rows.append((f"`{name}`", *prices, ", ".join(same)))
    return rows


def _price(price: Price) -> str:
    of = partial(_amount, price.currency)
    words = [of(price.picture)]
    if price.large_picture is not None:
        words.append(f"above {price.large_pixels:,} pixels {of(price.large_picture)}")
    if price.extended_picture is not None:
        words.append(f"with `prompt_extend` {of(price.extended_picture)}")
    if price.input_picture:
        words.append(f"each picture put in {of(price.input_picture)}")
    return "; ".join(words)


def _amount(currency: str, amount: float) -> str:
    return f"{amount:.3f}".removesuffix("0") + f" {currency}"


def _made(sizes: Sizes) -> str:
    if sizes.choices:
        return ", ".join(map(str, sizes.choices))
    if not sizes.settable:
        return "what it chooses"
    least, most = isqrt(sizes.least_pixels), isqrt(sizes.most_pixels)
    return f"{least} x {least} to {most} x {most}, up to {sizes.most_ratio}:1"


def rendered(rows: list[Row]) -> str:
    """Return *rows* as Markdown, to be pasted where a test finds a table out of date."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _quoted(text: str) -> str:
    return _QUOTED.sub(lambda match: f"`{match[0]}`", text)


def _default(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        return _quoted(text)
    return f"`{text}`"
