from gateway.translate.dashscope_fault import ROWS
from tests.docs.pages import ROOT, rendered, tables, upstream_code_rows

_PAGE = ROOT / "docs" / "dashscope-errors.md"


def test_the_table_is_the_code() -> None:
    """The page shows what each code becomes, as gateway.translate.dashscope_fault says."""
    (table,) = tables(_PAGE)

    assert table == upstream_code_rows(), rendered(upstream_code_rows())


def test_no_code_is_left_out() -> None:
    """Every code of the table in the code is on the page."""
    text = _PAGE.read_text("utf-8")

    assert not [row.code for row in ROWS if f"`{row.code}`" not in text]
