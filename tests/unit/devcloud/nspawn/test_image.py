"""Machine images: what is taken, and what is said about one that cannot be used."""

from pathlib import Path

import pytest

from devcloud.errors import BackendError
from devcloud.nspawn.image import load_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root/sbin").mkdir(parents=True)
    (tmp_path / "root/sbin/init").symlink_to("/lib/systemd/systemd")
    (tmp_path / "containerd").mkdir()
    return tmp_path


def test_image_without_a_description_is_its_root(folder: Path) -> None:
    image = load_image("debian", folder)

    assert (image.root, image.data) == (folder / "root", {})


def test_data_folders_lie_beside_the_root(folder: Path) -> None:
    (folder / "image.json").write_text('{"data": {"/var/lib/containerd": "containerd"}}')

    assert load_image("debian", folder).data == {"/var/lib/containerd": folder / "containerd"}


def test_image_without_a_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"'debian'.*no systemd"):
        load_image("debian", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be used"),
        ('{"date": {}}', "cannot be used"),
        ('{"data": {"var/lib/x": "containerd"}}', "'var/lib/x' is no path"),
        ('{"data": {"/": "containerd"}}', "'/' is no path"),
        ('{"data": {"/a/../b": "containerd"}}', "is no path"),
        ('{"data": {"/a:b": "containerd"}}', "is no path"),
        ('{"data": {"/x": "../containerd"}}', "is no name"),
        ('{"data": {"/x": "root"}}', "is no name"),
        ('{"data": {"/x": ""}}', "is no name"),
        ('{"data": {"/x": "elsewhere"}}', "'elsewhere', which is not there"),
    ],
)
def test_description_that_cannot_be_used_says_why(folder: Path, text: str, said: str) -> None:
    (folder / "image.json").write_text(text)

    with pytest.raises(BackendError, match=said):
        load_image("debian", folder)


def test_path_that_mount_options_cannot_carry_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / "a,b"
    (odd / "root/sbin").mkdir(parents=True)
    (odd / "root/sbin/init").touch()

    with pytest.raises(BackendError, match="none of the characters"):
        load_image("debian", odd)
