"""Programs of this host that tests need, installed where that is possible. Not here: what they are used for."""

import os
import shutil
import subprocess
from collections.abc import Mapping

_APT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


class MissingToolError(Exception):
    """A program is not there and cannot be installed; the text is one line for the person who ran the tests."""


def ensure_programs(purpose: str, package_of: Mapping[str, str]) -> None:
    """Install the packages of what is missing, if this is root on a machine with apt.

    `purpose` begins the text of MissingToolError, one line that names the packages.
    """
    missing = sorted({package for program, package in package_of.items() if find_program(program) is None})
    if not missing:
        return
    wanted = " ".join(missing)
    if os.geteuid() != 0 or find_program("apt-get") is None:
        raise MissingToolError(f"{purpose} need the packages {wanted}; install them, or run as root with apt")
    environment = os.environ | _APT
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise MissingToolError(f"{purpose} need the packages {wanted}; apt-get {arguments[0]} said: {last}")


def find_program(name: str) -> str | None:
    """Look in PATH and in the folders of system programs, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
