"""The end of a log: short, plain, and without what may not be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaas.bootstrap.tails import tail


def test_a_short_log_stays_as_it_is():
    assert tail("one\ntwo \u00e4\n") == "one\ntwo \u00e4\n"


def test_control_characters_and_colours_go():
    assert tail("\x1b[1;31mred\x1b[0m\x00\x07\tplain\r\nnext\x1b]0;title\x07!\u202e") == "red plain\nnext!"


def test_a_long_log_keeps_its_end_from_a_line_on():
    text = "".join(f"line {number}\n" for number in range(10_000))
    kept = tail(text, limit_bytes=1000)
    assert len(kept) <= 1000
    assert kept.startswith("line ")
    assert kept.endswith("line 9999\n")
    assert text.endswith(kept)


def test_one_long_line_is_cut_inside():
    assert tail("x" * 5000, limit_bytes=100) == "x" * 100


@given(st.text(max_size=300), st.integers(min_value=1, max_value=200))
def test_it_is_never_longer_than_allowed_and_always_printable(text: str, limit: int):
    kept = tail(text, limit_bytes=limit)
    assert len(kept.encode()) <= limit
    assert all(one.isprintable() or one == "\n" for one in kept)


KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIabc\nsecond\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef --x", "0123456789abcdef"),
        ("token: 'abcdef.0123456789abcdef'", "abcdef.0123456789abcdef"),
        ("Authorization: Bearer abcDEF123-_x.y", "abcDEF123"),
        (f"before\n{KEY}\nafter", "MHcCAQEEIabc"),
        (KEY[: len(KEY) // 2], "MHcCAQEE"),
        (f"--certificate-key {'0f' * 32}", "0f0f"),
    ],
)
def test_secrets_are_hidden(text: str, secret: str):
    assert secret in text
    kept = tail(text)
    assert secret not in kept
    assert "[hidden]" in kept


def test_a_secret_at_the_cut_is_hidden_as_well():
    text = f"{KEY}\n{'x' * 40}\n"
    for limit in range(1, len(text)):
        assert "MHcCAQEE"[2:] not in tail(text, limit_bytes=limit)
        assert "second" not in tail(text, limit_bytes=limit)


def test_what_only_looks_a_little_like_a_secret_stays():
    text = f"sha256:{'ab' * 32} 10.244.0.0/16 kube-apiserver.v1.36.3 registry.example"
    assert tail(text) == text
