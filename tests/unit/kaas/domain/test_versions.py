import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.versions import Version, parse_version, upgrade_problem

NUMBERS = st.integers(0, 999)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS)


@given(VERSIONS)
def test_a_version_reads_as_it_is_written(version: Version) -> None:
    assert parse_version(str(version)) == version
    assert parse_version(str(version).removeprefix("v")) == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "v1.29",
        "v1.29.0.1",
        "v1.29.x",
        "v01.29.0",
        "V1.29.0",
        "v1.29.0\n",
        " v1.29.0",
        "v1.29.0-rc.1",
        "latest",
        "v1.29.00",
        "v1.29.-1",
        "v1.29.1000",
        "v\u0661.29.0",
        "v1.29.0;reboot",
    ],
)
def test_what_is_no_version_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="it looks like"):
        parse_version(text)


@given(st.text())
def test_any_text_is_a_version_or_a_value_error(text: str) -> None:
    try:
        version = parse_version(text)
    except ValueError:
        return
    assert text.removeprefix("v") == str(version).removeprefix("v")


@pytest.mark.parametrize(
    ("running", "wanted", "words"),
    [
        ("v1.29.0", "v1.29.0", "already"),
        ("v1.29.3", "v1.29.0", "older"),
        ("v1.29.0", "v1.28.9", "older"),
        ("v2.0.0", "v1.29.0", "older"),
        ("v1.29.0", "v1.31.0", "v1.30 first"),
        ("v1.29.0", "v2.29.0", "major"),
    ],
)
def test_an_upgrade_that_cannot_be(running: str, wanted: str, words: str) -> None:
    assert words in upgrade_problem(parse_version(running), parse_version(wanted))


@pytest.mark.parametrize("wanted", ["v1.29.1", "v1.30.0", "v1.30.99"])
def test_an_upgrade_to_a_patch_or_the_next_minor_version(wanted: str) -> None:
    assert upgrade_problem(parse_version("v1.29.0"), parse_version(wanted)) == ""


@given(VERSIONS, VERSIONS)
def test_no_upgrade_ever_leads_back(running: Version, wanted: Version) -> None:
    if upgrade_problem(running, wanted) == "":
        assert wanted > running
        assert wanted.minor - running.minor <= 1
