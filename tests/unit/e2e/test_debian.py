"""Which mirror and which files of the Debian system are taken."""

from pathlib import Path

import pytest

from tests.e2e.cluster.debian import PACKAGES, Mirror, choose_mirror, host_release, inside, system_artefact
from tests.e2e.cluster.errors import AssetError


def test_the_mirror_is_the_one_of_the_release_not_of_its_updates() -> None:
    listed = (
        "http://updates.invalid/ some-updates main\n"
        "http://first.invalid/ some main\n"
        "http://first.invalid/ some universe\n"
        "http://second.invalid/ some main\n"
        "http://second.invalid/ some extra\n"
        "http://tools.invalid/  extra\n"
    )
    assert choose_mirror(listed, "some") == Mirror("http://first.invalid/", ("main", "universe"))


def test_a_release_that_apt_does_not_know_is_named() -> None:
    with pytest.raises(AssetError, match="no source of other with the component main"):
        choose_mirror("http://first.invalid/ some main\n", "other")


def test_the_release_is_what_the_host_says() -> None:
    assert host_release({"ID": "debian", "VERSION_CODENAME": "some"}) == "some"
    with pytest.raises(AssetError, match="VERSION_CODENAME"):
        host_release({"ID": "other"})


def test_another_release_is_another_system() -> None:
    assert system_artefact("one").key != system_artefact("two").key


def test_a_file_of_the_system_is_never_one_of_this_host(tmp_path: Path) -> None:
    root = tmp_path / "root"
    library = root / "usr" / "lib" / "some" / "libone.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    (root / "lib").symlink_to("usr/lib")
    (library.parent / "libone.so").symlink_to("libone.so.1")
    (root / "usr" / "lib" / "loader.so").symlink_to("/lib/some/../some/libone.so")
    for path in ("/lib/some/libone.so", "/lib/loader.so", "/../../usr/lib/loader.so"):
        assert inside(root, path) == library
    (root / "host").symlink_to("/etc/passwd")
    (root / "circle").symlink_to("circle")
    for wrong in ("/host", "/circle", "/lib/none.so", "/lib"):
        with pytest.raises(AssetError, match="is not a file of the system"):
            inside(root, wrong)


def test_the_machine_gets_its_runtime_from_us_and_its_container_starter_from_the_release() -> None:
    assert "containerd" not in PACKAGES
    assert "runc" in PACKAGES
