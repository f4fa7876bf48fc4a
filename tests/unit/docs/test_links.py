"""Every link in a page for people leads to a file that is there, and to a heading that is in it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
FRONT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "deploy/README.md")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
NOT_OURS = ("http://", "https://", "mailto:")


def pages() -> list[str]:
    below_docs = (path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md"))
    return [*FRONT, *sorted(below_docs)]


def prose(text: str) -> Iterator[str]:
    """Give the lines outside of code."""
    is_code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield line


def anchors(text: str) -> set[str]:
    """Give the anchors of headings, as the sites that show these pages make them."""
    found: dict[str, int] = {}
    for line in prose(text):
        if line.startswith("#"):
            words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
            anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found[anchor] = found.get(anchor, -1) + 1
    return {
        anchor if not number else f"{anchor}-{number}" for anchor, last in found.items() for number in range(last + 1)
    }


def dead(page: Path, text: str) -> Sequence[str]:
    """Give the links of a page that lead nowhere."""
    # A link may be broken over two lines.
    joined = " ".join(line.strip() for line in prose(text))
    found = []
    for link in LINK.findall(re.sub(r"`[^`]*`", "``", joined)):
        if link.startswith(NOT_OURS):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text()):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("name", pages())
def test_links_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    assert dead(page, page.read_text()) == []


def test_every_page_is_reached_from_the_front() -> None:
    """A page that no other one links is found by nobody."""
    linked: set[Path] = set()
    for name in pages():
        page = REPOSITORY / name
        joined = " ".join(line.strip() for line in prose(page.read_text()))
        linked |= {(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(joined) if link[0] != "#"}
    assert [name for name in pages() if name not in FRONT and (REPOSITORY / name).resolve() not in linked] == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, with marks\n")
    page = tmp_path / "page.md"
    text = "[a](there.md) [b](there.md#a-heading-with-marks) [c](gone.md) [d](there.md#gone)\n```\n[e](code.md)\n```\n"
    assert dead(page, text) == ["gone.md: no such file", "there.md#gone: no such heading"]
