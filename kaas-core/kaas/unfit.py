"""What keeps the program from its work before it begins, and the folder that its state is in."""

from pathlib import Path

_STATE_MODE = 0o700


class UnfitError(Exception):
    """Something that the program needs is missing or wrong; each of `problems` says what, and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def make_folder(folder: Path) -> None:
    """Make the folder of the state, for its owner alone, unless it is there. Raises OSError."""
    folder.mkdir(mode=_STATE_MODE, parents=True, exist_ok=True)
