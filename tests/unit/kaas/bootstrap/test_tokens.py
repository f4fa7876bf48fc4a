"""Tokens: random enough, in the form that others want, and stored as a hash only."""

import hashlib

from kaas.bootstrap.tokens import BOOT_TOKEN, JOIN_TOKEN, boot_token_hash, new_boot_token, new_join_token


def test_boot_tokens_have_256_bits_and_are_stored_as_their_hash():
    tokens = [new_boot_token() for _ in range(200)]
    assert len({token.secret for token in tokens}) == 200
    for token in tokens:
        assert BOOT_TOKEN.fullmatch(token.secret)
        assert token.hash == boot_token_hash(token.secret) == hashlib.sha256(token.secret.encode()).hexdigest()
        assert token.secret not in repr(token)


def test_join_tokens_are_in_kubeadms_form():
    tokens = {new_join_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(JOIN_TOKEN.fullmatch(token) for token in tokens)
    assert set("".join(tokens)) - {"."} == set("abcdefghijklmnopqrstuvwxyz0123456789")
