"""The programs of this host that the virtual machines need. Not here: what they are used for."""

from tests.support.tools import MissingToolError, ensure_programs, find_program

PACKAGE_OF_PROGRAM = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
}
__all__ = ["MissingToolError", "ensure_tools", "program"]


def ensure_tools() -> None:
    """Install what is missing, if this is root on a machine with apt.

    Raises MissingToolError, one line that names the packages.
    """
    ensure_programs("virtual machine tests", PACKAGE_OF_PROGRAM)


def program(name: str) -> str:
    """Give the full path of a program that `ensure_tools` has seen."""
    found = find_program(name)
    if found is None:
        raise MissingToolError(f"virtual machine tests need {name} (package {PACKAGE_OF_PROGRAM.get(name, name)})")
    return found
