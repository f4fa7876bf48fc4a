"""The page about errors quotes what the programs really say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
GAP = "…"


def quotes() -> list[str]:
    """What the tables' first columns quote."""
    lines = (REPOSITORY / "docs/errors.md").read_text().splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell) if " " in quote]


def texts() -> Iterator[str]:
    """Every text in the programs, with a gap for each value that is put in."""
    for package in ("node", "controller", "csi"):
        for file in (REPOSITORY / package).rglob("*.py"):
            if "pb" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


@pytest.fixture(scope="module")
def said() -> str:
    return "\n".join(" ".join(text.split()) for text in texts())


def test_the_page_quotes_many_errors() -> None:
    assert len(quotes()) > 30


@pytest.mark.parametrize("quote", quotes())
def test_a_quoted_error_is_what_a_program_says(said: str, quote: str) -> None:
    parts = [re.escape(part.strip(" ")) for part in quote.split(GAP) if part.strip(" ")]
    assert re.search(".*".join(parts), said), f"docs/errors.md quotes {quote!r}, which no program says"
