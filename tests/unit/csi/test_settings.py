from pathlib import Path

from csi.endpoint import UnixEndpoint
from csi.settings import ShellSettings
from process.address import TcpEndpoint
from process.logs import LogFormat, LogLevel
from process.settings import options_of, read_settings


def test_the_shell_needs_an_endpoint_and_nothing_else() -> None:
    assert [row.name for row in options_of(ShellSettings) if row.required] == ["endpoint"]
    assert read_settings(ShellSettings, ["--endpoint", "unix:///csi/csi.sock"], {}) == ShellSettings(
        endpoint=UnixEndpoint(Path("/csi/csi.sock")),
        socket_mode=0o600,
        http_endpoint=TcpEndpoint("127.0.0.1", 0),
        log_level=LogLevel.INFO,
        log_format=LogFormat.TEXT,
        call_limit_s=120.0,
        grace_s=20.0,
    )


def test_every_default_of_the_shell_reads_back_from_its_shown_form() -> None:
    for row in options_of(ShellSettings):
        if row.shown_default:
            assert row.kind.parse(row.shown_default) == row.default
