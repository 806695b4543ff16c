import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import EXIT_CODES, _parser
from gateway.domain.edit import Edit
from gateway.domain.errors import GatewayError, InvalidRequest, Throttled
from gateway.domain.models import Catalog, Operation
from gateway.observe.metrics import Metrics
from gateway.translate.openai_fields import DASHSCOPES, FIELDS, NAMES, WITHOUT_EFFECT
from gateway.translate.openai_pictures import is_file_id, is_picture
from gateway.translate.openai_request import edit_of
from tests.docs.pages import (
    CHINESE,
    DOCS,
    ENGLISH,
    REFERENCE,
    ROOT,
    Row,
    blocks,
    config_rows,
    headings,
    limit_rows,
    links,
    model_rows,
    price_rows,
    prose,
    rendered,
    spans,
    table_with,
    tables,
)
from tests.models import EDITOR, MODELS, PAINTER, is_snapshot

_FIELDS_PAGE = REFERENCE / "fields.md"
_ERRORS_PAGE = REFERENCE / "errors.md"
_CONFIG_PAGE = REFERENCE / "config.md"
_MODELS_PAGE = DOCS / "models.md"
_PAIRS = [
    pytest.param(ENGLISH, CHINESE, id="readme"),
    pytest.param(DOCS / "quickstart.md", DOCS / "quickstart.zh-CN.md", id="quickstart"),
]
_MODELS = dict.fromkeys(("wan2.5-i2i-preview", "gpt-image-1"), EDITOR)
_EDITS = Catalog(Operation.EDIT, _MODELS, "gpt-image-1")
_GENERATIONS = Catalog(Operation.GENERATE, {"a": PAINTER}, "a")


# ---------------------------------------------------------------- two languages, one README


@pytest.mark.parametrize(("english", "chinese"), _PAIRS)
def test_same_commands(english: Path, chinese: Path) -> None:
    """Both languages have the same code, byte for byte; only the drawing is translated."""
    of_english, of_chinese = (
        [b for b in blocks(page) if b.language != "text"] for page in (english, chinese)
    )

    assert of_english == of_chinese
    assert len(blocks(english)) == len(blocks(chinese))


@pytest.mark.parametrize(("english", "chinese"), _PAIRS)
def test_same_headings(english: Path, chinese: Path) -> None:
    """Both languages have the same sections in the same depth."""
    assert headings(english) == headings(chinese)


@pytest.mark.parametrize(("english", "chinese"), _PAIRS)
def test_same_tables(english: Path, chinese: Path) -> None:
    """Each row of each table holds the same pieces of code in the same order."""

    def codes(page: Path) -> list[list[list[str]]]:
        return [[spans(" | ".join(row)) for row in table] for table in tables(page)]

    assert codes(english) == codes(chinese)


@pytest.mark.parametrize(("english", "chinese"), _PAIRS)
def test_same_links(english: Path, chinese: Path) -> None:
    """Both languages lead to the same places, but for their own translations."""
    own = re.compile(r"(README|quickstart)(\.zh-CN)?\.md$")

    def led(page: Path) -> list[str]:
        return [to for to in links(page) if not own.search(to)]

    assert led(english) == led(chinese)


def test_the_readme_is_short() -> None:
    """A README is read to its end, or not at all; everything else has a page under docs/."""
    for page in (ENGLISH, CHINESE):
        assert len(page.read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("**/*.md")], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    lost = [to for to in links(page) if "://" not in to and not (page.parent / to).exists()]

    assert not lost


def test_each_statement_on_clients_says_how_it_is_known() -> None:
    """A test that runs it, a body that was captured, or a source that was read."""
    known = re.compile(r"\[(?:run|body)\]\(\.\./tests/[^)]+\.py\)|\[source\]\(https://[^)]+\)")
    statements = [
        line
        for line in prose(DOCS / "clients.md").partition("\nFor all of them")[2].splitlines()
        if line.startswith("- ")
    ]

    assert len(statements) > 100
    assert not [it for it in statements if not known.search(it)]


# ---------------------------------------------------------------- tables that mirror the code


def test_config_table() -> None:
    """The table of config keys is what the schema says."""
    assert table_with(_CONFIG_PAGE, "server.host") == config_rows(), rendered(config_rows())


def test_every_cell_is_filled() -> None:
    """No row of the table of config keys lacks a cell, and only a unit may be empty."""
    for row in table_with(_CONFIG_PAGE, "server.host"):
        assert len(row) == 5
        assert all(row[column] for column in (0, 1, 2, 4))


def test_every_metric_is_fed() -> None:
    """Nothing is listed that stays at 0 for want of somebody who tells it."""
    source = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "gateway").rglob("*.py")
        if path.name != "metrics.py"
    )
    reported = [name for name in vars(Metrics) if not name.startswith("_")]

    assert reported
    by = r"(?:observer|metrics|calls)"
    assert not [name for name in reported if not re.search(rf"{by}\.{name}\b", source)]


# ---------------------------------------------------------------- models


def test_models_table() -> None:
    """The table of models is the gateway's own."""
    rows = model_rows()

    assert rows in tables(_MODELS_PAGE), rendered(rows)


def test_limits_table() -> None:
    """The table of limits is the gateway's own."""
    rows = limit_rows()
    found = [table for table in tables(_MODELS_PAGE) if len(table[0]) == len(rows[0])]

    assert rows in found, rendered(rows)


def test_prices_table() -> None:
    """The table of prices is the gateway's own, each with the regions where it holds."""
    rows = price_rows()
    found = [table for table in tables(_MODELS_PAGE) if len(table[0]) == len(rows[0])]

    assert rows in found, rendered(rows)


def test_measured_table() -> None:
    """What others measured has a row for each model, and says which make transparency."""
    rows = next(table for table in tables(_MODELS_PAGE) if len(table[0]) == 5)
    models = [model for name, model in MODELS.items() if not is_snapshot(name)]

    assert [(row[0], row[4]) for row in rows] == [
        (f"`{model.name}`", "yes" if model.transparent else "") for model in models
    ]
    for model, (_, edits, generations, *_) in zip(models, rows, strict=True):
        assert model.does(Operation.EDIT) or not edits
        assert model.does(Operation.GENERATE) or not generations


def test_models_to_choose() -> None:
    """The page recommends models that there are, for what they do."""
    rows = next(table for table in tables(_MODELS_PAGE) if table[0][0] == "edits, for most")
    recommended = {name for row in rows for name in spans(row[1]) if not name.startswith("-")}

    assert recommended - {"wan2.6-*"} <= MODELS.keys()
    for row in rows:
        for operation, verb in ((Operation.EDIT, "edits"), (Operation.GENERATE, "generations")):
            if row[0].startswith(verb):
                assert all(MODELS[name].does(operation) for name in spans(row[1]))


def test_options_table() -> None:
    """Each option that some models have is told with these models, or with those without it."""
    dated = {name for name in MODELS if re.search(r"-\d{4}-\d{2}-\d{2}$", name)}

    def having(option: str) -> set[str]:
        if option == "background=transparent":
            return {name for name, model in MODELS.items() if model.transparent} - dated
        return {name for name, model in MODELS.items() if option in model.options} - dated

    rows = table_with(_MODELS_PAGE, "prompt_extend_mode")

    assert {name for row in rows for name in spans(row[0])} == {
        *DASHSCOPES,
        "background=transparent",
    }
    for option, models in rows:
        named = set(spans(models))
        others = MODELS.keys() - dated - named
        assert having(spans(option)[0]) == (others if models.startswith("all but") else named)


# ---------------------------------------------------------------- fields


def _field_rows() -> list[Row]:
    return table_with(_FIELDS_PAGE, "image")


def _examples(column: int) -> Iterator[tuple[str, str]]:
    for row in _field_rows():
        for code in spans(row[column]):
            name, _, text = code.partition("=")
            yield name, text


def test_every_field_has_its_row() -> None:
    """The table names each field that the gateway reads, and no other but pictures."""
    named = [name for row in _field_rows() for name in spans(row[0])]

    assert sorted(name for name in named if not is_picture(name)) == sorted(NAMES)
    assert {"image", "image[]", "mask"} < set(named)


def test_listed_fields_are_called_listed() -> None:
    """A field without effect, and no other known one, is told to be listed."""
    listed = {
        name for row in _field_rows() if row[2].startswith("listed") for name in spans(row[0])
    }

    assert listed == WITHOUT_EFFECT


def _read(name: str, text: str) -> Edit:
    fields = [(name, text)] if name == "prompt" else [("prompt", "add a hat"), (name, text)]
    catalog = _EDITS if name in FIELDS[Operation.EDIT] or name not in NAMES else _GENERATIONS
    return edit_of(fields, catalog=catalog, strict=False, fit=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [pytest.param(*example, id="=".join(example)) for example in _examples(1)],
)
def test_examples_that_are_taken(name: str, text: str) -> None:
    """What the table calls taken is taken, and listed just where the table says so."""
    edit = _read(name, text)

    field = name.partition("[")[0]  # of an object's member, svg[model]
    found = field in NAMES or is_picture(name)
    assert edit.ignored == ((name,) if field in WITHOUT_EFFECT or not found else ())


@pytest.mark.parametrize(
    ("name", "text"),
    # A mask or markup is refused before the fields are read: tests/downstream/test_masks.py has it.
    [pytest.param(*it, id="=".join(it)) for it in _examples(3) if it[0] not in {"mask", "markup"}],
)
def test_examples_that_are_refused(name: str, text: str) -> None:
    """What the table calls refused is refused, and ``param`` names the field."""
    with pytest.raises(InvalidRequest) as caught:
        _read(name, text)

    assert caught.value.param == ("images" if is_file_id(name) else name)


# ---------------------------------------------------------------- errors


def _classes() -> Iterator[type[GatewayError]]:
    kinds = [GatewayError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return (
        kind
        for kind in kinds[1:]
        if kind is not Throttled and kind.__module__ == GatewayError.__module__
    )


def test_every_error_has_its_row() -> None:
    """The table has each error's status, type, code and retry, once."""
    rows = {
        (*spans(row[0]), *spans(row[1]), code, *spans(row[3]))
        for row in table_with(_ERRORS_PAGE, "401")
        for code in spans(row[2])
    }

    wanted = {
        (str(kind.status), kind.type, kind.code, str(kind.retry).lower()) for kind in _classes()
    }

    assert wanted <= rows


def test_every_code_has_its_row() -> None:
    """Each code that some place of the gateway gives an error is in the table, and no other."""
    named = [code for row in table_with(_ERRORS_PAGE, "401") for code in spans(row[2])]
    given = {
        code
        for path in (ROOT / "gateway").rglob("*.py")
        if "sandbox" not in path.relative_to(ROOT).parts
        for code in re.findall(r'\bcode="(\w+)"', path.read_text("utf-8"))
    }

    assert set(named) == {kind.code for kind in _classes()} | given


# ---------------------------------------------------------------- commands


_TYPED = [ENGLISH, DOCS / "quickstart.md", DOCS / "retries.md", REFERENCE / "cli.md"]
"""Pages whose commands somebody types to try the gateway."""


def _shell_lines() -> Iterator[str]:
    for page in _TYPED:
        for block in blocks(page, "sh"):
            yield from block.text.replace("\\\n", " ").splitlines()


def test_each_command_is_of_a_known_kind() -> None:
    """Nothing is told to be typed that no test runs, but for what is marked on its page."""
    found = re.compile(
        r"make \w+$"  # test_make_targets
        r"|(?:[A-Z_]+=\S+ )*wan-gateway "  # test_wan_gateway_commands
        r"|curl |edit=\$\(curl "  # test_readme_commands
        r"|export DASHSCOPE_API_KEY="  # a key of the reader's own
        r"|docker "  # marked on the page: not run by a test
    )

    assert not [line for line in _shell_lines() if not found.match(line)]
    assert "not run by a test here" in (REFERENCE / "cli.md").read_text("utf-8")


def test_make_targets() -> None:
    """Every make target that these pages name is in the Makefile."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    for line in _shell_lines():
        if line.startswith("make "):
            assert line.split()[1] in targets


def test_benchmarks() -> None:
    """Every benchmark that a page names is there to be run."""
    text = (DOCS / "performance.md").read_text("utf-8")
    named = set(re.findall(r"python -m benchmarks\.(\w+)", text))

    assert len(named) > 3
    for name in named:
        assert '__name__ == "__main__"' in (ROOT / "benchmarks" / f"{name}.py").read_text("utf-8")


def test_wan_gateway_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Every wan-gateway command of these pages is understood by the command line."""
    lines = [line for line in _shell_lines() if "wan-gateway " in line and "docker" not in line]

    verbs = {
        _parser().parse_args(line.partition("wan-gateway ")[2].split()).command for line in lines
    }

    assert verbs == {
        "sandbox",
        "serve",
        "reload",
        "key",
        "check",
        "doctor",
        "edits",
        "top",
        "health",
        "completion",
        "backup",
        "restore",
    }
    assert not capsys.readouterr().err


def test_commands_of_the_howtos(capsys: pytest.CaptureFixture[str]) -> None:
    """Every wan-gateway command of the how-to pages is understood by the command line."""
    lines = [
        line.strip()
        for page in sorted((DOCS / "howto").glob("*.md"))
        for line in page.read_text("utf-8").splitlines()
        if line.strip().startswith("wan-gateway ")
    ]

    verbs = {_parser().parse_args(line.split()[1:]).command for line in lines}

    assert verbs == {"backup", "check", "edits", "key", "reload", "restore", "results", "sandbox"}
    assert not capsys.readouterr().err


def test_every_verb_has_its_row() -> None:
    """The table of commands names each verb, once, with the exit codes that its help says."""
    rows = table_with(REFERENCE / "cli.md", "serve")
    verbs = next(it for it in _parser()._actions if it.dest == "command").choices

    assert {spans(row[0])[0]: row[2] for row in rows} == EXIT_CODES
    assert [spans(row[0])[0] for row in rows] == list(verbs or ())


def test_config_files_are_there() -> None:
    """Every --config that these pages name exists."""
    named = [match for line in _shell_lines() for match in re.findall(r"--config (\S+)", line)]

    assert named
    assert all((ROOT / name).is_file() for name in named)
