# ruff: noqa: RUF009 - the calls in the dataclasses declare fields

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process.address import TcpEndpoint
from process.kinds import (
    DECIMAL,
    DURATION,
    LOG_FORMAT,
    LOG_LEVEL,
    MODE,
    NUMBER,
    OPTIONAL_HOST_PORT,
    PATH,
    REQUIRED_TEXT,
    SWITCH,
    TEXT,
    WORDS,
    OptionKind,
    choice,
    decimal,
    whole_number,
)
from process.logs import LogFormat, LogLevel
from process.settings import SettingsError, help_text, option, options_of, read_settings, reference_table, shown_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    endpoint: TcpEndpoint | None = option(OPTIONAL_HOST_PORT, "Where it serves.", required=True)
    http_endpoint: TcpEndpoint | None = option(OPTIONAL_HOST_PORT, "Health.", default=TcpEndpoint("127.0.0.1", 0))
    socket_mode: int = option(MODE, "Permissions.", default=0o600)
    log_level: LogLevel = option(LOG_LEVEL, "Least level.", default=LogLevel.INFO)
    log_format: LogFormat = option(LOG_FORMAT, "Form of a line.", default=LogFormat.TEXT)
    grace_s: float = option(DURATION, "Time to end.", default=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Shared):
    name: str = option(REQUIRED_TEXT, "A name.", required=True)
    volumes: int = option(whole_number(least=1, most=64), "How many volumes.", default=16)
    eager: bool = option(SWITCH, "Be eager | or not.", default=False)
    folder: Path | None = option(PATH, "A folder.", default=None)
    zones: tuple[str, ...] = option(WORDS, "Zones.", default=())
    token: str = option(TEXT, "The token.", default="", secret=True)
    token_file: Path | None = option(PATH, "File with the token.", default=None)

    def problems(self) -> tuple[str, ...]:
        return ("--zones and --eager exclude each other",) if self.zones and self.eager else ()


NEEDED = ["--endpoint", "127.0.0.1:9", "--name", "n"]


def read(*flags: str, **environ: str) -> Example:
    return read_settings(Example, [*NEEDED, *flags], environ)


def problems(argv: list[str], environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(Example, argv, environ or {})
    return caught.value.problems


def test_defaults_hold_where_nothing_is_said() -> None:
    settings = read()
    assert settings.endpoint == TcpEndpoint("127.0.0.1", 9)
    assert settings.http_endpoint == TcpEndpoint("127.0.0.1", 0)
    assert settings.socket_mode == 0o600
    assert settings.volumes == 16
    assert settings.eager is False
    assert settings.folder is None


def test_flags_are_read_in_both_forms_and_the_last_one_counts() -> None:
    settings = read("--volumes=3", "--volumes", "4", "--eager", "--folder", "/x", "--log-format=json")
    assert (settings.volumes, settings.eager, settings.folder) == (4, True, Path("/x"))
    assert settings.log_format is LogFormat.JSON
    assert read("--eager", "--volumes=1").eager is True
    assert read("--eager=false").eager is False
    assert read("--eager", "no").eager is False


def test_the_environment_counts_below_flags_and_above_defaults() -> None:
    assert read(TC_VOLUMES="5").volumes == 5
    assert read("--volumes", "6", TC_VOLUMES="5").volumes == 6
    assert read(TC_LOG_LEVEL="debug").log_level is LogLevel.DEBUG
    assert read_settings(Example, [], {"TC_ENDPOINT": "[::1]:9", "TC_NAME": "n"}).endpoint == TcpEndpoint("::1", 9)


def test_a_value_can_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text(" 7\n")
    assert read("--volumes", f"file:{file}").volumes == 7
    assert read(TC_VOLUMES=f"file:{file}").volumes == 7
    assert read(TC_VOLUMES_FILE=str(file)).volumes == 7


def test_an_option_that_is_a_file_name_owns_its_variable(tmp_path: Path) -> None:
    settings = read(TC_TOKEN_FILE=str(tmp_path / "token"))
    assert settings.token_file == tmp_path / "token"
    assert settings.token == ""


def test_a_secret_comes_from_the_environment_and_never_from_the_command_line() -> None:
    assert read(TC_TOKEN="hunter2").token == "hunter2"
    (problem,) = problems([*NEEDED, "--token", "hunter2"])
    assert "hunter2" not in problem
    assert "TC_TOKEN" in problem
    (problem,) = problems([*NEEDED, "--token=hunter2"])
    assert "hunter2" not in problem


def test_a_secret_is_in_no_text_of_the_struct() -> None:
    assert "hunter2" not in repr(read(TC_TOKEN="hunter2"))


def test_a_bad_secret_is_not_shown() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class WithPin:
        pin: int = option(NUMBER, "A pin.", default=0, secret=True)

    with pytest.raises(SettingsError) as caught:
        read_settings(WithPin, [], {"TC_PIN": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "TC_PIN" in str(caught.value)


def test_all_problems_are_told_at_once_by_name(tmp_path: Path) -> None:
    argv = ["--volumes", "65", "--nonsense", "x", "--log-level", "loud", "stray", "--folder", "relative", "--name"]
    environ = {"TC_GRACE_S": "soon", "TC_ZONES_FILE": str(tmp_path / "missing")}
    found = problems(argv, environ)
    for name in (
        "--volumes",
        "--nonsense",
        "--log-level",
        "'stray'",
        "--folder",
        "--name",
        "TC_GRACE_S",
        "TC_ZONES_FILE",
        "--endpoint",
    ):
        assert any(problem.startswith(name) for problem in found), name


def test_a_file_that_is_unreadable_huge_or_no_text_is_a_problem(tmp_path: Path) -> None:
    huge, binary = tmp_path / "huge", tmp_path / "binary"
    huge.write_bytes(b"1" * 70_000)
    binary.write_bytes(b"\xff\xfe")
    (problem,) = problems(NEEDED, {"TC_VOLUMES_FILE": str(huge)})
    assert "more than 65536 bytes" in problem
    (problem,) = problems(NEEDED, {"TC_VOLUMES_FILE": str(binary)})
    assert "UTF-8" in problem
    (problem,) = problems(NEEDED, {"TC_VOLUMES": f"file:{tmp_path}"})
    assert "directory" in problem
    (problem,) = problems(["--name", "n"], {"TC_ENDPOINT_FILE": str(tmp_path / "none")})
    assert "No such file" in problem


def test_conditions_between_options_are_told_as_well() -> None:
    assert problems([*NEEDED, "--zones", "a,b", "--eager"]) == ("--zones and --eager exclude each other",)


def test_help_names_every_option_once_with_its_default() -> None:
    text = help_text(Example, "tc-example", "Does examples.")
    assert text.startswith("usage: tc-example")
    for row in options_of(Example):
        assert text.count(f"\n  {row.variable if row.secret else row.flag + ' '}") == 1
        assert row.doc in text
    assert "--token " not in text
    assert "(default 16)" in text
    assert "(default info)" in text
    assert text.count("(required)") == 2


def test_the_reference_table_has_a_row_per_option() -> None:
    lines = reference_table(Example).splitlines()
    assert len(lines) == 2 + len(options_of(Example))
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)
    assert any("`--grace-s` | `TC_GRACE_S` | duration | `20`" in line for line in lines)


def test_an_option_can_have_another_name_than_its_field() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Renamed:
        lease_s: float = option(DURATION, "How long.", default=15.0, name="lease-duration")

    assert read_settings(Renamed, ["--lease-duration=1m"], {}).lease_s == 60
    assert read_settings(Renamed, [], {"TC_LEASE_DURATION": "2"}).lease_s == 2


def test_the_values_can_be_shown_without_the_secrets() -> None:
    shown = shown_values(read("--zones", "a,b", TC_TOKEN="hunter2"))
    assert set(shown) == {row.name for row in options_of(Example)} - {"token"}
    assert (shown["zones"], shown["folder"], shown["volumes"]) == ("a,b", "", "16")


def test_every_default_reads_back_from_its_shown_form() -> None:
    for row in options_of(Example):
        if row.shown_default:
            assert row.kind.parse(row.shown_default) == row.default


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (NUMBER, "0", 0),
        (whole_number(least=-5), "-5", -5),
        (DECIMAL, "2.5", 2.5),
        (DURATION, "250ms", 0.25),
        (DURATION, "1.5m", 90.0),
        (DURATION, "2h", 7200.0),
        (DURATION, "3", 3.0),
        (DURATION, "1h2m3.5s", 3723.5),
        (SWITCH, "Yes", True),
        (WORDS, " a, b,,", ("a", "b")),
        (MODE, "0660", 0o660),
        (PATH, "/a", Path("/a")),
        (choice("form", LogFormat), "json", LogFormat.JSON),
        (OPTIONAL_HOST_PORT, "off", None),
        (OPTIONAL_HOST_PORT, "[::1]:80", TcpEndpoint("::1", 80)),
    ],
)
def test_good_values_are_read(kind: OptionKind[object], text: str, value: object) -> None:
    assert kind.parse(text) == value


def test_a_long_duration_is_shown_as_it_is_written() -> None:
    assert DURATION.show(90 * 24 * 3600.0) == "7776000"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (NUMBER, ""),
        (NUMBER, "1_000"),
        (NUMBER, "-1"),
        (NUMBER, "1e3"),
        (NUMBER, "9" * 20),
        (whole_number(most=5), "6"),
        (DECIMAL, "nan"),
        (DECIMAL, "inf"),
        (decimal(least=1.0), "0.9"),
        (DURATION, "-1"),
        (DURATION, "1d"),
        (DURATION, ""),
        (DURATION, "1m30"),
        (DURATION, "1m 30s"),
        (SWITCH, "maybe"),
        (MODE, "999"),
        (MODE, "7777"),
        (PATH, "a/b"),
        (PATH, "/a\0"),
        (REQUIRED_TEXT, ""),
        (choice("form", LogFormat), "JSON"),
    ],
)
def test_bad_values_are_refused(kind: OptionKind[object], text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        kind.parse(text)


@given(st.lists(st.text(max_size=12), max_size=6))
def test_no_command_line_breaks_the_reader(argv: list[str]) -> None:
    # No drawn line holds both required options, so there is always something to tell.
    assert problems(argv)
