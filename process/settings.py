"""How a program's settings are read: one frozen dataclass per program, filled from flags, environment and files.

Each field is declared with `option(…)`; the dataclass is the only table, from which reading, `--help` and the reference
page are made. Belongs here: the reading. Does not belong here: what a program can be told.

For an option `log-level` the sources are, in this order: the flag `--log-level VALUE`, the variable `TC_LOG_LEVEL`, the
content of the file that `TC_LOG_LEVEL_FILE` names, the default. A value `file:/path` stands for the content of that
file. Secret options have no flag: process arguments can be read by everyone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from process.kinds import OptionKind

PREFIX = "TC_"
FILE_MARK = "file:"
FILE_SUFFIX = "_FILE"
MAX_FILE_BYTES = 64 * 1024
_OPTION = "option"

Settings = TypeVar("Settings")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of settings."""

    name: str
    """With dashes, without the leading two."""
    kind: OptionKind[Any]
    doc: str
    default: Any
    required: bool
    secret: bool

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The option in the environment."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def shown_default(self) -> str:
        """The default for people; empty when there is none."""
        return "" if self.required or self.default is None else self.kind.show(self.default)


class SettingsError(Exception):
    """Everything that is wrong with the settings, one sentence per problem, each with the option's name."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def option(
    kind: OptionKind[Value],
    doc: str,
    *,
    default: Value | None = None,
    required: bool = False,
    secret: bool = False,
    name: str = "",
) -> Any:
    """Declare a field of a settings dataclass. Its name with dashes is the option's name, unless `name` is given.

    `secret` keeps the value out of the command line and out of the struct's text.
    """
    metadata = {_OPTION: (kind, doc, required, secret, name)}
    if required:
        return dataclasses.field(metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def options_of(cls: type[Any]) -> tuple[Option, ...]:
    """Give the table of a settings dataclass, in the order of its fields."""
    return tuple(
        Option(
            name=field.metadata[_OPTION][4] or field.name.removesuffix("_").replace("_", "-"),
            kind=field.metadata[_OPTION][0],
            doc=field.metadata[_OPTION][1],
            default=None if field.default is dataclasses.MISSING else field.default,
            required=field.metadata[_OPTION][2],
            secret=field.metadata[_OPTION][3],
        )
        for field in dataclasses.fields(cls)
    )


def read_settings(cls: type[Settings], argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Fill the dataclass.

    Raises SettingsError with all problems at once. Its texts name the option and never hold a secret.
    """
    table = options_of(cls)
    problems: list[str] = []
    flags = _read_flags(table, argv, problems)
    values: dict[str, Any] = {}
    for field, row in zip(dataclasses.fields(cls), table, strict=True):  # type: ignore[arg-type]
        text, source = _find(row, table, flags, environ, problems)
        if text is not None:
            values[field.name] = _parse(row, text, source, problems)
        elif row.required and source != "unreadable":
            problems.append(f"{row.flag} is missing; give it or {row.variable}")
    if not problems:
        settings = cls(**values)
        # A program may add conditions between its options as a method of its struct.
        check: Callable[[], Sequence[str]] = getattr(settings, "problems", tuple)
        problems.extend(check())
        if not problems:
            return settings
    raise SettingsError(problems)


def shown_values(settings: object) -> dict[str, str]:
    """Give every option that is no secret with its value for people, by name."""
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    rows = zip(fields, options_of(type(settings)), strict=True)
    values = ((row, getattr(settings, field.name)) for field, row in rows if not row.secret)
    return {row.name: "" if value is None else row.kind.show(value) for row, value in values}


def help_text(cls: type[Any], program: str, summary: str) -> str:
    """Give the text of `--help`."""
    lines = [f"usage: {program} [--OPTION VALUE ...]", "", summary, "", "options:"]
    for row in options_of(cls):
        name = row.variable if row.secret else f"{row.flag} {row.kind.name.upper()}"
        facts = "required" if row.required else f"default {row.shown_default}" if row.shown_default else ""
        lines += [f"  {name}", f"      {row.doc}" + (f" ({facts})" if facts else "")]
    lines += [
        "",
        f"Each option can come from the environment as well ({PREFIX}… with underscores), or from the file that",
        f"{PREFIX}…{FILE_SUFFIX} names; a value {FILE_MARK}/path stands for the content of that file.",
    ]
    return "\n".join(lines) + "\n"


def reference_table(cls: type[Any]) -> str:
    """Give the table of the reference page, in Markdown."""
    lines = ["| Option | Variable | Kind | Default | Meaning |", "|---|---|---|---|---|"]
    for row in options_of(cls):
        flag = "only by variable or file" if row.secret else f"`{row.flag}`"
        default = "required" if row.required else f"`{row.shown_default}`" if row.shown_default else ""
        lines.append(
            f"| {flag} | `{row.variable}` | {row.kind.name} | {default} | {row.doc.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def _read_flags(table: Sequence[Option], argv: Sequence[str], problems: list[str]) -> dict[str, str]:
    known = {row.flag: row for row in table}
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        row = known.get(flag)
        if row is None or row.secret:
            hint = f"; a secret, give it as {row.variable} or {row.variable}{FILE_SUFFIX}" if row else ""
            # Only the name is shown: the value could be a secret given in the wrong place.
            problems.append(f"{flag if flag.startswith('--') else repr(flag[:40])} is not an option{hint}")
            if not equals and words and not words[0].startswith("--") and flag.startswith("--"):
                words.pop(0)
        elif equals:
            found[row.name] = value
        elif row.kind.is_switch and (not words or words[0].startswith("--")):
            found[row.name] = "true"
        elif words and not words[0].startswith("--"):
            found[row.name] = words.pop(0)
        else:
            problems.append(f"{row.flag} has no value")
    return found


def _find(
    row: Option, table: Sequence[Option], flags: Mapping[str, str], environ: Mapping[str, str], problems: list[str]
) -> tuple[str | None, str]:
    """Give the raw value and where it came from; (None, "unreadable") when a file could not be read."""
    if row.name in flags:
        return _from_file(flags[row.name], row.flag, problems)
    if row.variable in environ:
        return _from_file(environ[row.variable], row.variable, problems)
    in_file = row.variable + FILE_SUFFIX
    # An option that is itself a file name, such as api-key-file beside api-key, owns the variable of that name.
    if in_file in environ and all(other.variable != in_file for other in table):
        return _from_file(FILE_MARK + environ[in_file], in_file, problems)
    return None, ""


def _from_file(text: str, source: str, problems: list[str]) -> tuple[str | None, str]:
    if not text.startswith(FILE_MARK):
        return text, source
    path = Path(text.removeprefix(FILE_MARK))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            problems.append(f"{source}: the file {path} has more than {MAX_FILE_BYTES} bytes")
            return None, "unreadable"
        return content.decode().strip(), source
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problems.append(f"{source}: the file {path} cannot be read: {reason}")
        return None, "unreadable"


def _parse(row: Option, text: str, source: str, problems: list[str]) -> Any:
    try:
        return row.kind.parse(text)
    except ValueError as error:
        seen = "the value" if row.secret else repr(text[:80])
        problems.append(f"{source}: {seen} is not {row.kind.article} {row.kind.name}: {error}")
        return None
