"""SSH keys of clusters, as OpenSSH's own tool sees them."""

import asyncio
from pathlib import Path

import pytest

from kaas.crypto.sshkeys import new_ssh_key_pair, public_key_of
from kaas.domain.errors import Code, KaasError


async def test_openssh_reads_both_parts(tmp_path: Path):
    pair = await new_ssh_key_pair("kaas dev-4f1c2d3e")
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(pair.private_key)
    process = await asyncio.create_subprocess_exec("ssh-keygen", "-y", "-f", str(path), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().split()[:2] == pair.public_key.split()[:2]
    assert pair.public_key.startswith("ssh-ed25519 AAAA")
    assert pair.public_key.endswith(" kaas dev-4f1c2d3e")


async def test_the_public_part_is_known_from_the_private_one():
    pair = await new_ssh_key_pair("kaas")
    assert public_key_of(pair.private_key, "kaas") == pair.public_key
    assert "PRIVATE" not in repr(pair)


async def test_two_are_never_the_same():
    assert (await new_ssh_key_pair("a")).public_key != (await new_ssh_key_pair("a")).public_key


@pytest.mark.parametrize("comment", ["two\nlines", "a\0b", "\u00fc"])
async def test_a_comment_stays_a_comment(comment: str):
    with pytest.raises(KaasError) as caught:
        await new_ssh_key_pair(comment)
    assert caught.value.code is Code.INVALID


def test_something_else_that_was_stored_is_a_bug():
    with pytest.raises(KaasError) as caught:
        public_key_of(b"nothing")
    assert caught.value.code is Code.BUG
