"""Tables of results in pages of the documentation: each stands between a comment that asks for it and one that ends it.

<!-- table: overview of cora -->
...
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["ASKED", "fill", "filled"]

ASKED = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def filled(page: str, table: Callable[[str], Sequence[str]]) -> str:
    """A page of markdown with all tables that it asks for.

    Args:
        page: its text.
        table: from what is asked for to lines of markdown.

    >>> print(filled("<!-- table: one -->\\nold\\n<!-- end -->", lambda name: [f"| {name} |"]))
    <!-- table: one -->
    | one |
    <BLANKLINE>
    <!-- end -->
    """

    def put(asked: re.Match[str]) -> str:
        return "\n".join([f"<!-- table: {asked[1]} -->", *table(asked[1]), "", "<!-- end -->"])

    return ASKED.sub(put, page)


def fill(path: Path, table: Callable[[str], Sequence[str]]) -> None:
    """Put tables into a page on disk."""
    path.write_text(filled(path.read_text(encoding="utf-8"), table), encoding="utf-8")
