import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.desired.label_values import from_label_value, label_value
from ccm.desired.selector import is_label_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eu-west.1_a", "eu-west.1_a"),
        ("nova:az 1", "novax.3aazx.201"),
        ("-a-", "x.2dax.2d"),
        (".", "x.2e"),
        ("x.3a", "x.78.3a"),
        ("x.y", "x.y"),
        ("", ""),
        ("ä", "x.c3x.a4"),
    ],
)
def test_a_name_becomes_a_value_and_comes_back(text: str, value: str):
    assert label_value(text) == value
    assert from_label_value(value) == text


@settings(deadline=None)
@given(st.one_of(st.text(st.characters(codec="utf-8"), max_size=3), st.text(alphabet="x.2e78a:-", max_size=15)))
def test_every_short_text_comes_back(text: str):
    value = label_value(text)
    assert is_label_value(value)
    assert from_label_value(value) == text
    if is_label_value(text) and "x." not in text:
        assert value == text


def test_what_does_not_fit_is_refused():
    assert label_value("a" * 63) == "a" * 63
    with pytest.raises(ValueError, match="too long"):
        label_value("a" * 64)
    with pytest.raises(ValueError, match="too long"):
        label_value(":" * 16)
