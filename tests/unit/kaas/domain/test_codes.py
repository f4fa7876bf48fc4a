"""Whoever reads a code finds it explained."""

import pytest

from kaas.domain.errors import Code
from scripts.kaas_pages import api_page, errors_page


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_row(code: Code) -> None:
    rows = [row for row in errors_page().splitlines() if row.startswith(f"| `{code}` |")]
    assert rows
    assert all(len(row.split("|")[-2].split()) > 2 for row in rows)


def test_every_route_has_its_role() -> None:
    page = api_page()
    assert "| `GET /clusters` | reader |" in page
    assert "| `POST /clusters` | member |" in page
    assert "| `GET /clusters/{ref}/ssh-key` | admin |" in page
    assert "| `GET /health/live` | none, and no key |" in page
