"""The disk that carries this project's code into a guest, made afresh for every run of the tests.

It holds the packages that the node plugin imports, their installed dependencies and the guest's own programs; a change
of the code therefore shows in the next run without any build.
"""

import compileall
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode

from tests.vm.image import GUEST_PYTHON
from tests.vm.tools import MissingToolError, program

DISTRIBUTION = "thecloud-kubernetes"
OWN_PACKAGES = ("process", "csi", "node")
WANTED = ("grpcio", "msgspec", "prometheus-client", "protobuf", "pyudev")
_TREE = Path(__file__).parents[2]
_SPARE = 1.3
_SPARE_BYTES = 8 << 20


def code_disk(folder: Path) -> Path:
    """Make the disk image in `folder`. Raises MissingToolError when the dependencies cannot be had for the guest."""
    tree = folder / "code"
    for name in OWN_PACKAGES:
        shutil.copytree(_TREE / name, tree / "site" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(__file__).parent / "inside", tree / "inside")
    if sys.version_info[:2] == GUEST_PYTHON:
        for name in dependency_names(WANTED):
            _copy_distribution(name, tree / "site")
        _compile(tree)
    else:
        _install_for_guest(tree / "site")
    image = folder / "code.ext4"
    size_bytes = int(sum(path.lstat().st_size for path in tree.rglob("*")) * _SPARE) + _SPARE_BYTES
    options = ("-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree))
    subprocess.run([program("mke2fs"), *options, str(image), f"{size_bytes >> 10}k"], check=True, capture_output=True)
    shutil.rmtree(tree)
    return image


def _compile(tree: Path) -> None:
    """Make the byte code here: the disk is read-only, and an emulated processor would compile at every start."""
    if not compileall.compile_dir(tree, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        raise MissingToolError(f"virtual machine tests: not all of the code below {tree} compiles")


def dependency_names(wanted: tuple[str, ...]) -> list[str]:
    """Give the distributions that are needed to import the wanted ones, themselves included."""
    found: list[str] = []
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        needs = [need for need in distribution(name).requires or [] if ";" not in need]
        waiting += [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in needs]
    return sorted(found)


def _copy_distribution(name: str, site: Path) -> None:
    for file in distribution(name).files or []:
        # Console scripts lie outside of the folder of packages.
        if ".." in file.parts:
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(str(file.locate()))
        if source.is_file():
            shutil.copy2(source, target)


def _install_for_guest(site: Path) -> None:
    pinned = [f"{name}=={distribution(name).version}" for name in dependency_names(WANTED)]
    version = ".".join(map(str, GUEST_PYTHON))
    where = ("--target", str(site), "--python-version", version, "--platform", "manylinux2014_x86_64")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", *where, *pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingToolError(
            f"virtual machine tests need the dependencies for Python {version}: {done.stderr.strip()}"
        )
