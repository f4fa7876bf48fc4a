from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.desired.selector import is_label_key, is_label_value, parse_selector

LABELS = {"pool": "a", "zone": "z1", "spot": "", "example.org/gpu": "yes", "in": "notin"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("   ", True),
        ("pool", True),
        ("!pool", False),
        ("! missing", True),
        ("missing", False),
        ("pool=a", True),
        ("pool==a", True),
        (" pool = b ", False),
        ("pool!=a", False),
        ("pool!=b", True),
        ("missing!=a", True),
        ("missing=", False),
        ("spot=", True),
        ("spot=,pool=a", True),
        ("spot!=", False),
        ("pool in (a,b)", True),
        ("pool in(b)", False),
        ("pool in ()", False),
        ("spot in (,b)", True),
        ("pool notin (a,b)", False),
        ("pool notin ( b , c )", True),
        ("missing notin (a)", True),
        ("missing in (a)", False),
        ("pool=a,zone in (z1,z2),!missing,example.org/gpu", True),
        ("pool=a,zone=z2", False),
        ("in=notin", True),
        ("in in (notin)", True),
        ("in,!notin", True),
    ],
)
def test_a_selector_takes_what_kubectl_takes(text: str, matches: bool):
    assert parse_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        ",a",
        "a b",
        "a=b c",
        "a in b",
        "a in (b",
        "a in (b c)",
        "a in",
        "in (a)",
        "a > 1",
        "a<1",
        "!a=b",
        "!!a",
        "!",
        "=a",
        "a===b",
        "a=-b",
        "a=" + "b" * 64,
        "a/b/c",
        "/a",
        "Org/a",
        "a()",
        "ä=b",
        "a" * 5000,
    ],
)
def test_what_cannot_be_read_says_so(text: str):
    with pytest.raises(ValueError, match="label selector"):
        parse_selector(text)


@settings(deadline=None)
@given(st.text(alphabet="ab=!,() innot<>/.", max_size=30))
def test_any_text_is_read_or_refused(text: str):
    try:
        parse_selector(text).matches(LABELS)
    except ValueError as refused:
        assert "label selector" in str(refused)  # noqa: PT017 - either outcome is right


_NAMES = st.sampled_from(["a", "b", "in", "notin", "c.example/d"])
_VALUES = st.sampled_from(["", "x", "y", "in"])
_PARTS = st.tuples(_NAMES, st.sampled_from(["=", "==", "!=", "in", "notin", "", "!"]), st.lists(_VALUES, min_size=1))


def _written(key: str, operator: str, values: list[str]) -> str:
    match operator:
        case "":
            return key
        case "!":
            return f"!{key}"
        case "in" | "notin":
            return f"{key} {operator} ({', '.join(values)})"
        case _:
            return f"{key}{operator}{values[0]}"


def _holds(labels: Mapping[str, str], key: str, operator: str, values: list[str]) -> bool:
    here = labels.get(key)
    match operator:
        case "":
            return here is not None
        case "!":
            return here is None
        case "in":
            return here in values
        case "notin":
            return here not in values
        case "!=":
            return here != values[0]
        case _:
            return here == values[0]


@settings(deadline=None)
@given(st.lists(_PARTS, max_size=4), st.dictionaries(_NAMES, _VALUES))
def test_a_selector_agrees_with_a_plain_evaluation(parts: list[tuple[str, str, list[str]]], labels: dict[str, str]):
    found = parse_selector(",".join(_written(*part) for part in parts))
    assert found.matches(labels) is all(_holds(labels, *part) for part in parts)


def test_keys_and_values_of_labels():
    assert is_label_key("a.example/b_c.d-e")
    assert not any(is_label_key(one) for one in ("", "a/", "-a", "a" * 64, "a." * 127 + "a/b", "a b", "a\n"))
    assert is_label_value("")
    assert not any(is_label_value(one) for one in ("-", "a.", "a" * 64, "a:b", "a\n"))
