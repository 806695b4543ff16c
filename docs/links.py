"""MkDocs hook: links that leave docs/ lead to files of the repository, which the site has not."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_OUTSIDE = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Name a file of the repository by its path in place of a link; fail if it is not there."""
    source = Path(page.file.abs_src_path)
    docs = next(parent for parent in source.parents if parent.name == "docs")

    def name(match: re.Match[str]) -> str:
        target = (source.parent / match[2]).resolve()
        if docs in target.parents:
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri} links to {match[2]}, which does not exist.")
        path = str(target.relative_to(docs.parent))
        text = match[1]
        return text if path in text else f"{text} (`{path}`)"

    return _OUTSIDE.sub(name, markdown)
