"""The API key: read when it changes, shown nowhere."""

import os

import pytest

from thecloud.credentials import MAX_KEY_BYTES, FixedKey, KeyFile, key_source
from thecloud.errors import KeyUnusable, NotSent
from thecloud.settings import PlatformSettings


async def test_white_space_around_the_key_is_no_part_of_it(tmp_path):
    path = tmp_path / "key"
    path.write_text("\n  thecloud_abc \r\n")
    assert await KeyFile(path).read() == "thecloud_abc"


async def test_an_exchanged_key_is_used_from_the_next_request_on(tmp_path):
    path = tmp_path / "key"
    path.write_text("thecloud_old")
    source = KeyFile(path)
    assert await source.read() == "thecloud_old"
    path.write_text("thecloud_new")
    os.utime(path, ns=(1, 1))
    assert await source.read() == "thecloud_new"


async def test_a_key_behind_a_swapped_link_is_seen(tmp_path):
    # Kubernetes exchanges a mounted secret by turning a link, size and times may stay the same.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(f"thecloud_{name}")
        os.utime(tmp_path / name / "key", ns=(1, 1))
    link = tmp_path / "data"
    link.symlink_to("one")
    source = KeyFile(link / "key")
    assert await source.read() == "thecloud_one"
    link.unlink()
    link.symlink_to("two")
    assert await source.read() == "thecloud_two"


async def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("thecloud_abc")
    source = KeyFile(path)
    await source.read()
    monkeypatch.setattr(KeyFile, "_read_file", lambda self: pytest.fail("read again"))
    assert await source.read() == "thecloud_abc"


async def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KeyUnusable, match=r"no-such-key cannot be read: No such file"):
        await KeyFile(tmp_path / "no-such-key").read()


@pytest.mark.parametrize("content", ["", " \n"])
async def test_an_empty_file_says_so_and_heals(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content)
    source = KeyFile(path)
    with pytest.raises(KeyUnusable, match="key is empty; put"):
        await source.read()
    path.write_text("thecloud_abc")
    assert await source.read() == "thecloud_abc"


@pytest.mark.parametrize("content", ["two words", "line\nline", "schlüssel", "k\x00ey", "x" * (MAX_KEY_BYTES + 1)])
async def test_what_cannot_be_a_header_is_refused_without_showing_it(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(KeyUnusable) as caught:
        await KeyFile(path).read()
    assert content not in str(caught.value)


def test_without_a_key_nothing_was_sent():
    # What is said about a refused key, or done about one, must not follow from a file that is not there.
    assert issubclass(KeyUnusable, NotSent)


async def test_the_settings_choose_the_source(tmp_path):
    path = tmp_path / "key"
    path.write_text("thecloud_file")
    assert await key_source(PlatformSettings(base_url="http://x", api_key_file=path)).read() == "thecloud_file"
    assert await key_source(PlatformSettings(base_url="http://x", api_key=" thecloud_env ")).read() == "thecloud_env"


def test_sources_show_no_key():
    assert "s3cret" not in repr(FixedKey("s3cret"))
    assert "s3cret" not in repr(PlatformSettings(base_url="http://x", api_key="s3cret"))
