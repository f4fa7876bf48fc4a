from pathlib import Path

from controller.reference import page

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "parameters.md"


def test_the_committed_reference_of_parameters_is_current():
    assert COMMITTED.read_text() == page(), "run: python -m controller.reference > docs/reference/parameters.md"
