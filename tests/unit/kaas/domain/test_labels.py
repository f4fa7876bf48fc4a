import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.domain.labels import MAX_LABELS, check_labels, check_taints
from kaas.domain.model import Taint

HARMLESS = re.compile(r"[A-Za-z0-9._/-]*")


@pytest.mark.parametrize(
    ("key", "value"),
    [("gpu", "yes"), ("a/b", ""), ("example.org/tier", "front-end_1.0"), ("node.kubernetes.io/pool", "x"), ("A", "B")],
)
def test_labels_that_kubernetes_takes(key: str, value: str) -> None:
    assert check_labels("labels", {key: value}) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-a",
        "a-",
        "a b",
        "a" * 64,
        "/a",
        "a/",
        "a/b/c",
        "Example.org/a",
        "a..b/c",
        "ü",
        "a\n",
        "$(reboot)",
        "a,b=c",
        "a" * 254 + "/b",
    ],
)
def test_keys_that_are_none(key: str) -> None:
    [problem] = check_labels("labels", {key: "x"})
    assert problem.field.startswith("labels[")


def test_a_prefix_that_is_no_dns_name_any_more() -> None:
    assert check_labels("labels", {"a" * 254 + "/b": ""})


@pytest.mark.parametrize("value", ["-a", "a ", "a" * 64, "a\nb", "`id`", "a,node-role=x", '"', "a=b"])
def test_values_that_are_none(value: str) -> None:
    assert len(check_labels("labels", {"a": value})) == 1


@pytest.mark.parametrize(
    "key", ["kubernetes.io/hostname", "node-role.kubernetes.io/control-plane", "k8s.io/x", "kaas-cluster", "kaas-node"]
)
def test_what_is_not_the_users_to_set(key: str) -> None:
    assert "choose another key" in check_labels("labels", {key: "x"})[0].message


def test_too_many_labels() -> None:
    assert check_labels("labels", {f"a{number}": "" for number in range(MAX_LABELS)}) == []
    assert check_labels("labels", {f"a{number}": "" for number in range(MAX_LABELS + 1)})[0].field == "labels"


def test_everything_that_is_wrong_with_taints() -> None:
    found = check_taints("taints", [Taint("a b", "c d", "Never"), Taint("gpu", "", "NoSchedule")])
    assert [problem.field for problem in found] == ["taints[0].key", "taints[0].value", "taints[0].effect"]
    assert check_taints("taints", [Taint("gpu", "yes", "NoExecute")] * 2)[0].field == "taints"


@given(st.dictionaries(st.text(max_size=80), st.text(max_size=80), max_size=4))
def test_nothing_that_a_shell_or_yaml_would_read_gets_through(labels: dict[str, str]) -> None:
    if not check_labels("labels", labels):
        for text in (*labels, *labels.values()):
            assert HARMLESS.fullmatch(text)


@given(st.from_regex(re.compile(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", re.ASCII), fullmatch=True))
def test_plain_words_get_through(word: str) -> None:
    assert check_labels("labels", {word: word}) == []
