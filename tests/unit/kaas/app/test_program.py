"""The command line: what is said to people, and the exit codes."""

import asyncio
import re
from pathlib import Path

import pytest

from kaas.db.store import open_store
from kaas.program import COMMANDS, main
from tests.unit.kaas.app.rig import logging_kept


@pytest.fixture(autouse=True)
def _as_before():
    with logging_kept():
        yield


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    for name in ("TC_API_KEY", "TC_DATABASE_URL", "TC_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
    assert main(["serve", "--help"]) == 0
    assert "--driver" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nothing"], ["keyring"], ["user", "remove"]])
def test_what_is_no_command(words, capsys):
    assert main(words) == 2
    assert "usage: kaas COMMAND" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kaas ")


def test_a_first_start_says_what_to_do(home, capsys):
    assert main(["serve", "--driver=simulator", "--listen=127.0.0.1:0", "--phone-home-listen=127.0.0.1:0"]) == 1
    said = capsys.readouterr().err
    assert "`kaas keyring new`" in said
    assert "`kaas user add`" in said
    assert main(["keyring", "new"]) == 0
    assert main(["user", "add"]) == 0
    assert "export CLOUD_API_KEY=kaas_" in capsys.readouterr().out
    assert (home / "kaas-state").stat().st_mode & 0o777 == 0o700
    assert main(["config", "check", "--driver=simulator"]) == 0


def test_nothing_is_written_over(home, capsys):
    for words in (["keyring", "new"], ["user", "add"]):
        assert main(words) == 0
    kept = [(home / "kaas-state" / name).read_bytes() for name in ("keyring.json", "users.yaml")]
    capsys.readouterr()
    for words, said in ((["keyring", "new"], "`kaas keyring add`"), (["user", "add"], "already")):
        assert main(words) == 1
        assert said in capsys.readouterr().err
    assert kept == [(home / "kaas-state" / name).read_bytes() for name in ("keyring.json", "users.yaml")]
    assert main(["keyring", "add"]) == 0
    assert main(["user", "add", "--user=max", "--tenant=green", "--role=reader"]) == 0


@pytest.mark.usefixtures("home")
def test_tables_are_made_when_they_are_asked_for(capsys):
    for words in (["keyring", "new"], ["user", "add"]):
        assert main(words) == 0
    assert main(["api", "--driver=simulator", "--listen=127.0.0.1:0"]) == 1
    assert "run `kaas migrate`" in capsys.readouterr().err
    for _ in range(2):
        assert main(["migrate"]) == 0
        assert "the tables have revision" in capsys.readouterr().out


def test_a_database_that_does_not_answer(home, capsys, monkeypatch):
    for words in (["keyring", "new"], ["user", "add"]):
        assert main(words) == 0
    monkeypatch.setenv("TC_DATABASE_URL", f"postgresql+psycopg://kaas:hunter2@/kaas?host={home}")
    for words in (["migrate"], ["config", "check", "--driver=simulator"], ["conductor", "--driver=simulator"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "the database does" in said
        assert "hunter2" not in said


@pytest.mark.usefixtures("home")
def test_settings_that_are_wrong_are_all_named(capsys):
    assert main(["serve", "--driver=nowhere", "--engine=steam"]) == 2
    said = capsys.readouterr().err
    assert "kaas serve: --driver" in said
    assert "kaas serve: --engine" in said


def test_a_check_asks_the_platform(home, capsys, monkeypatch):
    for words in (["keyring", "new"], ["user", "add"]):
        assert main(words) == 0
    monkeypatch.setenv("TC_API_KEY", "hunter2")
    (home / "catalogue.yaml").write_text("versions: [{version: v1.36.3, image: kubernetes-v1.36.3}]\n")
    flags = (
        "--platform-url=http://127.0.0.1:9",
        "--phone-home-url=https://127.0.0.1:8087",
        "--catalogue-file=catalogue.yaml",
        "--default-cni=bridge",
    )
    assert main(["config", "check", *flags]) == 1
    said = capsys.readouterr().err
    assert "the platform at http://127.0.0.1:9" in said
    assert "hunter2" not in said


@pytest.mark.usefixtures("home")
def test_conductors_are_listed_disabled_and_enabled(capsys):
    assert main(["migrate"]) == 0
    assert main(["conductors", "list"]) == 0
    assert "there is no conductor" in capsys.readouterr().out
    registered("host-7-ab")
    assert main(["conductors", "disable", "--conductor=host-7-ab", "--reason=new disks"]) == 0
    assert "takes no more clusters" in capsys.readouterr().out
    assert main(["conductors", "list"]) == 0
    assert re.search(r"host-7-ab +1\.0 +\d+ s ago, disabled: new disks", capsys.readouterr().out)
    assert main(["conductors", "enable", "--conductor=host-7-ab"]) == 0
    capsys.readouterr()
    assert main(["conductors", "list"]) == 0
    assert "disabled" not in capsys.readouterr().out


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("what", ["disable", "enable"])
def test_a_conductor_that_is_none(capsys, what):
    assert main(["migrate"]) == 0
    assert main(["conductors", what, "--conductor=nobody"]) == 1
    assert "there is no conductor 'nobody'" in capsys.readouterr().err
    assert main(["conductors", what]) == 2


def registered(conductor_id):
    database = Path("kaas-state/kaas.db").absolute()

    async def work():
        store = open_store(f"sqlite+aiosqlite:///{database}")
        try:
            await store.conductors.register(conductor_id, host="host", version="1.0")
        finally:
            await store.close()

    asyncio.run(work())
