"""How every command of our programs takes its command line: help, the settings, or what is wrong with them.

Apart from what serves, so that a command that serves nothing does not load what serving needs.
"""

import os
import sys
from collections.abc import Sequence
from typing import TypeVar

from process.settings import SettingsError, help_text, read_settings

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

Settings = TypeVar("Settings")


def settings_or_exit_code(
    program: str, summary: str, settings_class: type[Settings], argv: Sequence[str]
) -> Settings | int:
    """Give the settings; or, after writing the help or every problem with them, the exit code to end with."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(help_text(settings_class, program, summary))
        return EXIT_OK
    try:
        return read_settings(settings_class, argv, os.environ)
    except SettingsError as error:
        sys.stderr.write("".join(f"{program}: {problem}\n" for problem in error.problems))
        return EXIT_USAGE
