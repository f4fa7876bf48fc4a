from pathlib import Path

import pytest

from kaas.domain.model import Cni
from kaas.option_kinds import Descriptor
from kaas.settings import EngineName, KeyRingSettings, ServiceSettings, TableSettings, UserSettings
from process.address import TcpEndpoint
from process.settings import SettingsError, options_of, read_settings, reference_table
from tests.unit.kaas.app.rig import settings_of

REAL = (
    "--platform-url=http://127.0.0.1:8080",
    "--phone-home-url=https://10.77.0.1:8087",
    "--catalogue-file=/etc/kaas/catalogue.yaml",
)


def problems_of(*flags: str, **secrets: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(ServiceSettings, flags, secrets)
    return caught.value.problems


def test_the_simulator_needs_nothing_else(tmp_path):
    settings = settings_of(tmp_path, "--driver=simulator")
    assert settings.sqlite_file == tmp_path / "kaas.db"
    assert (settings.keyring, settings.users, settings.tls_dir) == (
        tmp_path / "keyring.json",
        tmp_path / "users.yaml",
        tmp_path / "tls",
    )
    assert settings.listen == TcpEndpoint("127.0.0.1", 8086)
    assert not settings.needs_platform


def test_a_relative_folder_is_below_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings(KeyRingSettings, [], {}).keyring == tmp_path / "kaas-state" / "keyring.json"
    assert read_settings(KeyRingSettings, ["--state-dir", "here"], {}).keyring == tmp_path / "here" / "keyring.json"


def test_everything_that_a_real_platform_needs_is_named_at_once():
    assert [problem.split()[0] for problem in problems_of()] == [
        "--platform-url",
        "--phone-home-url",
        "--catalogue-file",
    ]


def test_what_is_wrong_with_the_platform_is_told_with_the_options_names():
    problems = problems_of(*REAL, "--tenant-id=nobody")
    assert any("--api-key-file or TC_API_KEY is needed" in problem for problem in problems)
    assert any("--tenant-id is 'nobody'" in problem for problem in problems)


def test_a_real_platform():
    settings = read_settings(ServiceSettings, REAL, {"TC_API_KEY": "hunter2"})
    assert settings.platform().api_key == "hunter2"
    assert "hunter2" not in repr(settings)


def test_secrets_have_no_flag():
    assert {row.name for row in options_of(ServiceSettings) if row.secret} == {"database-url", "api-key"}
    (problem,) = problems_of("--driver=simulator", "--database-url=postgresql+psycopg://kaas:hunter2@db/kaas")
    assert "TC_DATABASE_URL" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("flags", "secrets", "named"),
    [
        (("--engine=procrastinate",), {}, "--engine procrastinate needs a PostgreSQL database"),
        (
            (),
            {"TC_DATABASE_URL": "postgresql://kaas:hunter2@db"},
            "TC_DATABASE_URL: the address of the",
        ),
        (("--vault-key=kaas",), {}, "--vault-address and --vault-token-file missing"),
        (("--tls-cert-file=/x",), {}, "--tls-cert-file and --tls-key-file go together"),
        (("--listen=0.0.0.0:80",), {}, "API keys would go over the network in clear"),
        (("--phone-home-url=http://a",), {}, "https://host[:port] is needed"),
        (("--phone-home-listen=off",), {}, "--phone-home-url is missing"),
        (("--cni-manifests=flannel=/x",), {}, "flannel is none of calico, cilium"),
        (("--flannel-image=a",), {}, "--flannel-image and --flannel-plugin-image go together"),
        (("--conductor-sources=10.0.0.1/8",), {}, "--conductor-sources"),
        (("--addon-images=a",), {}, "name=value is needed"),
        (("--authentication=platform",), {}, "--platform-url is missing"),
    ],
)
def test_what_does_not_go_together(flags, secrets, named):
    problems = problems_of("--driver=simulator", *flags, **secrets)
    assert len(problems) == 1, problems
    assert named in problems[0]
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize("more", ["--allow-plaintext", "--tls-key-file=/k"])
def test_others_may_reach_it_when_somebody_takes_care(tmp_path, more):
    certificate = ["--tls-cert-file=/c"] if "tls" in more else []
    settings = settings_of(tmp_path, "--driver=simulator", "--listen=0.0.0.0:80", more, *certificate)
    assert settings.listen == TcpEndpoint("0.0.0.0", 80)


def test_places_and_pairs(tmp_path):
    settings = settings_of(
        tmp_path,
        "--driver=simulator",
        "--listen=fd:7",
        "--cni-manifests=calico=/a.yaml, cilium=/b.yaml",
        "--addon-images=driver=site/driver:1,manager=site/manager@sha256:0",
    )
    assert settings.listen == Descriptor(7)
    assert settings.manifests == {Cni.CALICO: Path("/a.yaml"), Cni.CILIUM: Path("/b.yaml")}
    assert dict(settings.addon_images)["manager"] == "site/manager@sha256:0"


def test_the_small_commands_know_only_what_they_need():
    assert read_settings(TableSettings, [], {}).engine is EngineName.INPROCESS
    with pytest.raises(SettingsError, match="--driver is not an option"):
        read_settings(UserSettings, ["--driver=simulator"], {})


def test_every_option_is_in_the_reference_with_a_sentence():
    rows = options_of(ServiceSettings)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.doc.endswith((".", "…")) or "=" in row.doc for row in rows)
    assert reference_table(ServiceSettings).count("\n") == len(rows) + 2
