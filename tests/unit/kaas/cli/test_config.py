from pathlib import Path

import pytest

from kaas.cli.config import DEFAULT_URL, Where, config_path, find
from kaas.cli.errors import CliError, ExitCode
from tests.unit.kaas.cli.rig import Service, run


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "cli.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(environ: dict[str, str], url: str = "", key: str = "") -> str:
    with pytest.raises(CliError) as caught:
        find(url, key, environ)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.message


def test_options_come_before_the_file(tmp_path: Path) -> None:
    environ = {"CLOUD_CONFIG": str(write(tmp_path, "api_url: http://file\napi_key: k-file\n"))}
    assert find("", "", environ) == Where("http://file", "k-file")
    assert find("http://option", "", environ) == Where("http://option", "k-file")
    assert find("", "k-option", environ) == Where("http://file", "k-option")


def test_where_the_file_is() -> None:
    assert config_path({"HOME": "/home/ada"}) == Path("/home/ada/.config/thecloud/cli.yaml")
    assert config_path({"HOME": "/home/ada", "XDG_CONFIG_HOME": "/x"}) == Path("/x/thecloud/cli.yaml")
    assert config_path({"CLOUD_CONFIG": "/y"}) == Path("/y")


def test_without_a_file(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert find("", "k", environ) == Where(DEFAULT_URL, "k")
    message = refused(environ)
    for words in ("CLOUD_API_KEY", "-k", "cli.yaml"):
        assert words in message
    assert "is not there" in refused({"CLOUD_CONFIG": str(tmp_path / "none")})
    assert "no key has" in refused(environ, key="k\n")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, "api_key: k-file\n", mode)
    message = refused({"CLOUD_CONFIG": str(path)})
    assert "chmod 0600" in message
    assert "k-file" not in message
    write(tmp_path, "api_url: http://file\n", mode)
    assert find("", "k", {"CLOUD_CONFIG": str(path)}).url == "http://file"


@pytest.mark.parametrize("text", ["a: b", "[", "api_key: [1]", "api_key: {}"])
def test_a_file_that_is_wrong(tmp_path: Path, text: str) -> None:
    assert "is no configuration" in refused({"CLOUD_CONFIG": str(write(tmp_path, text))})


def test_an_empty_file(tmp_path: Path) -> None:
    assert find("", "k", {"CLOUD_CONFIG": str(write(tmp_path, ""))}).url == DEFAULT_URL


def test_the_program_reads_it(service: Service, tmp_path: Path) -> None:
    path = write(tmp_path, f"api_url: {service.url}\napi_key: key-of-ada\n")
    done = run("k8s", "list", CLOUD_CONFIG=str(path), CLOUD_API_URL=None, CLOUD_API_KEY=None)
    assert done.exit_code == 0, done.output
    done = run("k8s", "list", CLOUD_CONFIG=str(tmp_path / "none"), CLOUD_API_URL=None, CLOUD_API_KEY=None)
    assert (done.exit_code, "is not there" in done.stderr) == (2, True)
