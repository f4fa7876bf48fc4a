"""A /proc with the few files that tell processes apart."""

from collections.abc import Sequence
from pathlib import Path


class FakeProc:
    """Processes as the test wants them."""

    def __init__(self, root: Path, boot: str = "boot-1") -> None:
        self.root = root
        self.reboot(boot)

    def reboot(self, boot: str) -> None:
        folder = self.root / "sys/kernel/random"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "boot_id").write_text(f"{boot}\n")

    def add(
        self,
        pid: int,
        started: int,
        *,
        state: str = "S",
        children: Sequence[int] = (),
        inner: Sequence[int] = (),
        program: str = "/usr/bin/sh",
        name: str = "a (odd) name",
    ) -> None:
        folder = self.root / str(pid)
        (folder / f"task/{pid}").mkdir(parents=True)
        words = [state, "1", *["0"] * 17, str(started), "0"]
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(words)}\n")
        (folder / f"task/{pid}/children").write_text("".join(f"{child} " for child in children))
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{pid} {' '.join(map(str, inner))}\n")
        (folder / "exe").symlink_to(program)
