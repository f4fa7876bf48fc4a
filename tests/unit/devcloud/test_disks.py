"""Images: sparse, whole or not there, and copied hole by hole."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devcloud import disks
from devcloud.disks import Images
from devcloud.errors import BackendError

BLOCK = 64 * 1024


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path, durable=True)


def test_created_image_is_sparse_and_private(images: Images) -> None:
    images.create("a", 1 << 40)

    assert images.path("a").stat().st_size == 1 << 40
    assert images.allocated_bytes("a") == 0
    assert images.path("a").stat().st_mode & 0o777 == 0o600
    assert images.names() == {"a"}


def test_grow_never_shrinks(images: Images) -> None:
    images.create("a", 8 * BLOCK)
    images.path("a").write_bytes(b"x" * 8 * BLOCK)

    images.grow("a", 4 * BLOCK)
    images.grow("a", 16 * BLOCK)

    assert images.path("a").stat().st_size == 16 * BLOCK
    assert images.path("a").read_bytes()[: 8 * BLOCK] == b"x" * 8 * BLOCK


def test_missing_images_are_said_to_be_missing(images: Images, tmp_path: Path) -> None:
    assert images.allocated_bytes("nobody") is None
    images.remove("nobody")
    with pytest.raises(BackendError, match="nobody"):
        images.grow("nobody", 1)
    with pytest.raises(BackendError):
        images.copy(tmp_path / "nobody", "a", 1)
    assert not list(tmp_path.iterdir())


def test_failed_copy_leaves_nothing(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.create("a", BLOCK)
    images.path("a").write_bytes(b"x" * BLOCK)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", fail)
    monkeypatch.setattr(disks, "_clone", lambda *_: False)

    with pytest.raises(BackendError, match="No space left"):
        images.copy(images.path("a"), "b", BLOCK)
    assert [path.name for path in tmp_path.iterdir()] == ["a.img"]


def test_what_an_interrupted_copy_left_is_no_image(images: Images, tmp_path: Path) -> None:
    (tmp_path / "b.part").write_bytes(b"half")

    assert images.names() == set()
    images.remove_parts()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_copy_range", [True, False])
@settings(max_examples=25, deadline=None)
@given(written=st.sets(st.integers(0, 15)), grown=st.integers(0, 4))
def test_copy_keeps_content_and_holes(
    tmp_path_factory: pytest.TempPathFactory, *, has_copy_range: bool, written: set[int], grown: int
) -> None:
    images = Images(tmp_path_factory.mktemp("images"), durable=False)
    images.create("a", 16 * BLOCK)
    with images.path("a").open("r+b") as image:
        for block in written:
            image.seek(block * BLOCK)
            image.write(bytes([block + 1]) * BLOCK)
    expected = images.path("a").read_bytes() + bytes(grown * BLOCK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disks, "_clone", lambda *_: False)
        if not has_copy_range:
            patch.setattr(os, "copy_file_range", _refuse)

        images.copy(images.path("a"), "b", (16 + grown) * BLOCK)

    assert images.path("b").read_bytes() == expected
    assert images.allocated_bytes("b") == images.allocated_bytes("a") == len(written) * BLOCK


def _refuse(*_: object) -> int:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_free_bytes_are_those_of_the_file_system(tmp_path: Path) -> None:
    assert 0 < disks.free_bytes(tmp_path) <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
