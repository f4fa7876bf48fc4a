"""First-boot commands, run as a machine runs them (`sh -c`, one after the other) against the real listener over TLS."""

import asyncio
import shlex
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uvicorn
import yaml
from starlette.types import ASGIApp, Receive, Scope, Send

from kaas.bootstrap.phone_home import phone_home
from kaas.bootstrap.tls import listener_tls, new_listener_tls, server_files
from kaas.bootstrap.tokens import new_boot_token
from kaas.bootstrap.userdata import MAX_BYTES, FirstBoot, Places, first_boot_commands, report_script
from kaas.domain.errors import Code, KaasError
from tests.unit.kaas.bootstrap.fake_boots import FakeBoots
from tests.unit.kaas.bootstrap.waiting import until

TOKEN = new_boot_token()
USER_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f it\'s "mine" $(id)'


class BadDays:
    """Answers with other statuses first, as a proxy or a listener that starts does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.answers: list[int] = []
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.calls += 1
            if self.answers:
                await send({"type": "http.response.start", "status": self.answers.pop(0), "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await self.app(scope, receive, send)


@dataclass
class Machine:
    """A machine's surroundings below one folder, with tools that would change this host taken away."""

    root: Path
    boots: FakeBoots
    front: BadDays
    boot: FirstBoot

    @property
    def host_key(self) -> Path:
        return Path(self.boot.places.host_key)

    @property
    def log_file(self) -> Path:
        return Path(self.boot.places.log_file)

    @property
    def user_folder(self) -> Path:
        return Path(self.boot.places.user_folder)

    def tool(self, name: str, script: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.root}/called\n{script}\n')
        path.chmod(0o755)

    def called(self, name: str) -> list[str]:
        lines = (self.root / "called").read_text().splitlines() if (self.root / "called").exists() else []
        return [line for line in lines if line.split()[0] == name]

    async def run(self, *commands: str) -> tuple[int, str]:
        environment = {"PATH": f"{self.root}/bin:/usr/bin:/bin", "TMPDIR": str(self.root / "tmp")}
        code, said = 0, b""
        for command in commands or first_boot_commands(self.boot):
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", command),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
            code, said = process.returncode or 0, said + out
        return code, said.decode()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    tls = await listener_tls(tmp_path / "tls", ("127.0.0.1",))
    certificate, key = server_files(tmp_path / "tls")
    boots = FakeBoots(known={TOKEN.hash})
    front = BadDays(phone_home(boots))
    config = uvicorn.Config(
        front,
        host="127.0.0.1",
        port=0,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    for name in ("bin", "tmp", "ssh"):
        (tmp_path / name).mkdir()
    places = Places(
        host_key=f"{tmp_path}/ssh/host key",
        user_folder=f"{tmp_path}/root/.ssh",
        log_file=f"{tmp_path}/boot.log",
    )
    boot = FirstBoot(f"https://127.0.0.1:{port}", tls.ca_pem, TOKEN.secret, places=places)
    one = Machine(tmp_path, boots, front, boot)
    one.tool("systemctl", "exit 0")
    one.tool("sleep", "exit 0")
    one.tool("journalctl", "printf 'a \"quoted\" line\\\\with a backslash\\n\\ttab \\303\\244 \\033[31m\\001end\\n'")
    yield one
    server.should_exit = True
    await task


async def test_a_machine_makes_its_host_key_starts_sshd_and_reports(machine: Machine):
    code, said = await machine.run()
    assert (code, said) == (0, "")
    ((token_hash, phase, host_key, log),) = machine.boots.reports
    assert (token_hash, phase) == (TOKEN.hash, "booted")
    assert machine.host_key.with_name("host key.pub").read_text().startswith(host_key)
    assert stat.S_IMODE(machine.host_key.stat().st_mode) == 0o600
    assert machine.called("systemctl") == ["systemctl start ssh.service", "systemctl enable ssh.service"]
    assert log == 'a "quoted" line\\with a backslash\n tab  [31mend\n'
    assert machine.called("sleep") == []


async def test_a_host_key_that_is_there_stays(machine: Machine):
    await machine.run("ssh-keygen -q -t ed25519 -C 'root@a host' -N '' -f " + shlex.quote(str(machine.host_key)))
    before = machine.host_key.read_bytes()
    assert (await machine.run())[0] == 0
    assert machine.host_key.read_bytes() == before
    public = machine.host_key.with_name("host key.pub").read_text().split()
    assert machine.boots.reports[0][2] == " ".join(public[:2])


async def test_the_service_may_have_its_other_name(machine: Machine):
    machine.tool("systemctl", 'test "$2" = sshd.service')
    assert (await machine.run())[0] == 0
    assert [report[1] for report in machine.boots.reports] == ["booted"]
    assert machine.called("systemctl")[-1] == "systemctl enable sshd.service"


async def test_a_machine_that_cannot_start_sshd_says_why(machine: Machine):
    machine.tool("systemctl", 'echo "Unit $2 could not be found." >&2; exit 5')
    assert (await machine.run())[0] == 0
    ((_, phase, _, log),) = machine.boots.reports
    assert phase == "failed"
    assert "Unit ssh.service could not be found." in log


async def test_a_machine_without_ssh_says_so(machine: Machine):
    machine.tool("ssh-keygen", 'echo "no such tool" >&2; exit 1')
    assert (await machine.run())[0] == 0
    ((_, phase, host_key, log),) = machine.boots.reports
    assert (phase, host_key) == ("failed", "")
    assert "no such tool" in log


async def test_a_log_file_of_the_platform_is_reported_as_well_and_all_stays_small(machine: Machine):
    machine.log_file.write_text("cloud-init said this\n" + '"' * 300_000 + "\n")
    machine.tool("journalctl", "yes '\"\\' | head -n 100000")
    assert (await machine.run())[0] == 0
    assert machine.boots.reports[0][3].endswith('"\\\n')


async def test_it_tries_again_when_nobody_answers_well(machine: Machine):
    machine.front.answers = [503, 429, 404, 500, 302]
    assert (await machine.run())[0] == 0
    assert len(machine.boots.reports) == 1
    assert [line.split()[1] for line in machine.called("sleep")] == ["1", "1", "2", "4", "8"]


async def test_it_gives_up_after_about_ten_minutes(machine: Machine):
    machine.front.answers = [503] * 1000
    assert (await machine.run())[0] == 1
    pauses = [int(line.split()[1]) for line in machine.called("sleep")]
    assert 400 <= sum(pauses) <= 700
    assert machine.front.calls == len(pauses)
    assert pauses == sorted(pauses)


async def test_a_token_that_is_refused_is_not_tried_again(machine: Machine):
    machine.boots.known.clear()
    assert (await machine.run())[0] == 1
    assert machine.front.calls == 1


async def test_a_listener_with_another_authority_is_told_nothing(machine: Machine):
    machine.boot = replace(machine.boot, ca_pem=new_listener_tls(("127.0.0.1",)).ca_pem)
    assert (await machine.run())[0] == 1
    assert machine.front.calls == 0
    assert machine.boots.reports == []


async def test_no_token_is_left_behind_and_none_is_an_argument(machine: Machine):
    machine.tool("curl", 'exec /usr/bin/curl "$@"')
    assert (await machine.run())[0] == 0
    assert machine.called("curl")
    # A file with the token would be anywhere below; the arguments of every tool are in `called`.
    for path in machine.root.rglob("*"):
        if path.is_file():
            assert TOKEN.secret.encode() not in path.read_bytes(), path
    assert list((machine.root / "tmp").iterdir()) == []


async def test_a_machine_that_is_switched_off_meanwhile_leaves_nothing_either(machine: Machine):
    machine.front.answers = [503] * 1000
    machine.tool("sleep", "kill -TERM $PPID")
    assert (await machine.run())[0] != 0
    assert machine.called("sleep") == ["sleep 1"]
    assert list((machine.root / "tmp").iterdir()) == []


async def test_a_public_key_is_added_as_it_is(machine: Machine):
    machine.boot = replace(machine.boot, authorized_key=USER_KEY)
    folder = machine.user_folder
    folder.mkdir(parents=True)
    (folder / "authorized_keys").write_text("ssh-ed25519 AAAA before\n")
    assert (await machine.run())[0] == 0
    assert (folder / "authorized_keys").read_text() == f"ssh-ed25519 AAAA before\n{USER_KEY}\n"


async def test_without_one_nobody_is_let_in_by_us(machine: Machine):
    assert (await machine.run())[0] == 0
    assert not machine.user_folder.exists()


def _boot(**more: str) -> FirstBoot:
    known = {"url": "https://10.0.0.1:8443", "ca_pem": _CA, "token": TOKEN.secret}
    return FirstBoot(**{**known, **more})  # type: ignore[arg-type]


_CA = new_listener_tls(("10.0.0.1",)).ca_pem


def test_the_command_is_the_same_text_to_yaml_and_small():
    (command,) = first_boot_commands(_boot(authorized_key=USER_KEY))
    assert yaml.safe_load(f"runcmd:\n- {command}\n") == {"runcmd": [command]}
    assert len(command) < MAX_BYTES / 2
    assert command.isascii()
    assert command.isprintable()


async def test_the_script_is_good_shell_in_every_shell_there_is(tmp_path: Path):
    path = tmp_path / "script"
    path.write_text(report_script(_boot(authorized_key=USER_KEY)))
    for shell in ("sh", "bash"):
        process = await asyncio.create_subprocess_exec(shell, "-n", str(path))
        assert await process.wait() == 0


def test_nothing_is_told_but_what_is_listed():
    script = report_script(_boot())
    assert script.count(TOKEN.secret) == 1
    assert "PRIVATE" not in script
    assert TOKEN.secret not in repr(_boot())


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://10.0.0.1"},
        {"url": "https://10.0.0.1/$(id)"},
        {"url": "https://10.0.0.1\nx"},
        {"url": ""},
        {"ca_pem": ""},
        {"ca_pem": "$(id)"},
        {"ca_pem": _CA + "$(id)"},
        {"ca_pem": "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"},
        {"token": ""},
        {"token": "'; id; '"},
        {"authorized_key": "two\nlines"},
        {"authorized_key": 'command="id" ssh-ed25519 AAAA'},
        {"authorized_key": "-----BEGIN OPENSSH PRIVATE KEY-----"},
    ],
)
def test_what_has_no_place_there_is_refused(wrong: dict[str, str]):
    with pytest.raises(KaasError) as caught:
        first_boot_commands(_boot(**wrong))
    assert caught.value.code is Code.INVALID
    assert TOKEN.secret not in str(caught.value)


def test_commands_that_grow_too_long_are_refused():
    with pytest.raises(KaasError, match="bytes") as caught:
        first_boot_commands(_boot(ca_pem=_CA * 20))
    assert caught.value.code is Code.INVALID


def test_places_with_quotes_stay_places():
    script = report_script(replace(_boot(), places=Places(host_key="/a'b $(id)")))
    assert "host_key=" + shlex.quote("/a'b $(id)") + "\n" in script
