"""The guest's kernel and root disk: built once from Debian packages, kept in the user's cache, shared by all guests.

Nothing of this project is in it: the code reaches a guest on a disk of its own (see `code_disk`), so that a change of
code needs no new root disk. The key of the cache is a digest of everything the build depends on. Building needs root
(debootstrap) and the network; using it needs neither.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.debootstrap import SUITE, bootstrap, cached, run_to_build, trim
from tests.vm import cpio
from tests.vm.tools import MissingToolError, program

GUEST_PYTHON = (3, 11)
KERNEL_PACKAGE = "linux-image-cloud-amd64"
PACKAGES = ("python3", "e2fsprogs", "xfsprogs", "btrfs-progs", "util-linux", "mount", "udev", "kmod", "busybox-static")
EARLY_MODULES = ("virtio_pci", "virtio_blk")
"""What it takes to see the root disk; everything else is loaded by the guest from its root."""
MOUNT_POINTS = ("opt/code", "var/lib/kubelet")
ROOT_BYTES = 1 << 30
EARLY_SCRIPT = Path(__file__).parent / "inside" / "early.sh"
_RECIPE = 1
_WHAT = "the guest's root disk"


@dataclass(frozen=True, slots=True)
class GuestImage:
    """Files that QEMU boots from; none of them is ever written to by a guest."""

    kernel: Path
    early: Path
    root: Path


def guest_image() -> GuestImage:
    """Give the image, building it first if the cache has none for this recipe.

    Raises MissingToolError, one line, when it has to be built and cannot be.
    """
    folder = cached("vm", recipe_key(), _build)
    return GuestImage(kernel=folder / "vmlinuz", early=folder / "early.cpio", root=folder / "root.ext4")


def recipe_key() -> str:
    """Digest everything that the image depends on."""
    parts = (str(_RECIPE), SUITE, KERNEL_PACKAGE, *PACKAGES, "", *EARLY_MODULES, "", *MOUNT_POINTS, str(ROOT_BYTES))
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(EARLY_SCRIPT.read_bytes())
    return digest.hexdigest()[:16]


def module_order(dependencies: str, wanted: tuple[str, ...]) -> list[str]:
    """Give the module files to load, each after those that it needs, from the text of modules.dep."""
    needs = {}
    for line in dependencies.splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    by_name = {Path(file).name.split(".")[0].replace("-", "_"): file for file in needs}
    order: list[str] = []
    for name in wanted:
        # modules.dep lists what a module needs with the deepest need last.
        for file in (*reversed(needs[by_name[name]]), by_name[name]):
            if file not in order:
                order.append(file)
    return order


def _build(work: Path) -> None:
    tree = work / "tree"
    bootstrap(tree, PACKAGES, _WHAT)
    _add_kernel(tree)
    release = _kernel_release(tree)
    shutil.copy(tree / "boot" / f"vmlinuz-{release}", work / "vmlinuz")
    (work / "early.cpio").write_bytes(_early_archive(tree, release))
    _trim(tree)
    for point in MOUNT_POINTS:
        (tree / point).mkdir(parents=True, exist_ok=True)
    root = work / "root.ext4"
    _run(program("mke2fs"), "-q", "-t", "ext4", "-m", "0", "-d", str(tree), str(root), f"{ROOT_BYTES >> 10}k")
    shutil.rmtree(tree)


def _add_kernel(tree: Path) -> None:
    """Unpack the kernel without its maintainer scripts, which would make a boot loader's files."""
    shutil.copy("/etc/resolv.conf", tree / "etc" / "resolv.conf")
    inside = ("chroot", str(tree))
    _run(*inside, "apt-get", "update", "-qq")
    listing = _run(*inside, "apt-cache", "depends", KERNEL_PACKAGE)
    names = [line.split()[-1] for line in listing.splitlines() if line.strip().startswith("Depends:")]
    versioned = next((name for name in names if name.startswith("linux-image-")), None)
    if versioned is None:
        raise MissingToolError(f"virtual machine tests need a kernel: {KERNEL_PACKAGE} of {SUITE} names none")
    _run(*inside, "sh", "-c", f"cd /tmp && apt-get download -qq {versioned}")
    # Unpacked aside: over the tree it would put a folder in the place of the link /lib.
    _run(*inside, "sh", "-c", "dpkg-deb -x /tmp/linux-image-*.deb /tmp/kernel && rm /tmp/linux-image-*.deb")
    unpacked = tree / "tmp" / "kernel"
    shutil.move(unpacked / "lib" / "modules", tree / "usr" / "lib" / "modules")
    for file in (unpacked / "boot").iterdir():
        shutil.move(file, tree / "boot" / file.name)
    shutil.rmtree(unpacked)
    _run(*inside, "depmod", _kernel_release(tree))


def _kernel_release(tree: Path) -> str:
    releases = sorted(path.name for path in (tree / "usr" / "lib" / "modules").iterdir())
    return releases[-1]


def _early_archive(tree: Path, release: str) -> bytes:
    modules = tree / "usr" / "lib" / "modules" / release
    order = module_order((modules / "modules.dep").read_text(), EARLY_MODULES)
    entries = {
        "bin": cpio.folder(),
        "modules": cpio.folder(),
        "bin/busybox": cpio.program_file(tree / "bin" / "busybox"),
        "init": cpio.program_file(EARLY_SCRIPT),
        "modules/order": cpio.Entry(mode=0o100644, content="\n".join(Path(file).name for file in order).encode()),
    }
    for file in order:
        entries[f"modules/{Path(file).name}"] = cpio.program_file(modules / file)
    return cpio.pack(entries)


def _trim(tree: Path) -> None:
    trim(tree)
    shutil.rmtree(tree / "boot")
    (tree / "boot").mkdir()


def _run(*arguments: str) -> str:
    return run_to_build(_WHAT, *arguments)
