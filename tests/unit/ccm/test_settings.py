from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from ccm.compatibility import CompatibilityOptions
from ccm.selection import CONTROLLERS, LIFECYCLE, NODE, ROUTE, SERVICE
from ccm.settings import ManagerSettings
from process.address import TcpEndpoint
from process.logs import LogFormat, LogLevel
from process.settings import SettingsError, help_text, options_of, read_settings

NEEDED = ("--platform-url", "https://cloud.example", "--cluster-id", "c-1")
ENVIRON = {"TC_API_KEY": "hunter2"}

KNOWN = """
cloud-provider cloud-config kubeconfig master cluster-name cluster-cidr allocate-node-cidrs cidr-allocator-type
configure-cloud-routes route-reconciliation-period node-monitor-period node-status-update-frequency
concurrent-node-syncs concurrent-node-status-updates concurrent-service-syncs allow-untagged-cloud
use-service-account-credentials controllers feature-gates leader-elect leader-elect-lease-duration
leader-elect-renew-deadline leader-elect-retry-period leader-elect-resource-lock leader-elect-resource-name
leader-elect-resource-namespace min-resync-period kube-api-qps kube-api-burst kube-api-content-type bind-address
secure-port tls-cert-file tls-private-key-file authentication-kubeconfig authorization-kubeconfig
authentication-skip-lookup authentication-tolerate-lookup-failure authorization-always-allow-paths profiling
webhook-secure-port v logging-format client-ca-file
"""
"""Flags that manifests of other cloud controller managers have."""


def read(*flags: str, **environ: str) -> ManagerSettings:
    return read_settings(ManagerSettings, [*NEEDED, *flags], {**ENVIRON, **environ})


def problems(*flags: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(*flags, **environ)
    return caught.value.problems


def test_the_flags_that_users_know_exist() -> None:
    assert {row.name for row in options_of(ManagerSettings)} >= set(KNOWN.split())


def test_only_the_platform_and_the_cluster_have_to_be_told() -> None:
    assert {row.name for row in options_of(ManagerSettings) if row.required} == {"platform-url", "cluster-id"}
    settings = read()
    assert settings.platform().base_url == "https://cloud.example"
    assert settings.http_endpoint == TcpEndpoint("127.0.0.1", 10258)
    assert all(settings.runs(name) for name in CONTROLLERS)
    assert (settings.leader_elect, settings.lease_duration_s, settings.out_of_service_after_s) == (True, 15.0, 0.0)
    assert settings.without_effect() == ()


def test_every_default_reads_back_from_its_shown_form() -> None:
    for row in options_of(ManagerSettings):
        if row.shown_default:
            assert row.kind.parse(row.shown_default) == row.default, row.name


def test_no_two_options_have_one_name_and_each_is_in_the_help() -> None:
    rows = options_of(ManagerSettings)
    assert len({row.name for row in rows}) == len(rows)
    text = help_text(ManagerSettings, "tc-ccm", "Manages.")
    assert all(f"\n  {row.variable if row.secret else row.flag}" in text for row in rows)


def test_a_manifest_of_another_manager_is_understood(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    settings = read(
        "--cloud-provider=external",
        "--allow-untagged-cloud",
        "--use-service-account-credentials=true",
        "--webhook-secure-port=0",
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--leader-elect-lease-duration=1m30s",
        "--leader-elect-resource-name=mine",
        "--controllers=*,-node-route-controller",
        "--cluster-cidr=10.244.0.0/16,fd00::/48",
        "--node-status-update-frequency=5m0s",
        "--concurrent-service-syncs=3",
        "--bind-address=0.0.0.0",
        "--v=4",
        "--logging-format=json",
    )
    assert settings.kubeconfig == kubeconfig
    assert settings.without_effect() == (
        "--cloud-provider",
        "--allow-untagged-cloud",
        "--use-service-account-credentials",
        "--webhook-secure-port",
    )
    assert settings.leader_elect is False
    assert (settings.lease_duration_s, settings.node_status_update_frequency_s) == (90.0, 300.0)
    assert settings.cluster_cidr == (ip_network("10.244.0.0/16"), ip_network("fd00::/48"))
    assert [settings.runs(name) for name in (NODE, LIFECYCLE, SERVICE, ROUTE)] == [True, True, True, False]
    assert settings.http_endpoint == TcpEndpoint("0.0.0.0", 10258)
    assert (settings.level, settings.form) == (LogLevel.DEBUG, LogFormat.JSON)


def test_what_has_no_effect_says_so_and_has_no_default() -> None:
    rows = options_of(CompatibilityOptions)
    assert len(rows) == len(fields(CompatibilityOptions))
    assert all(row.doc.startswith("Without effect: ") and row.default is None for row in rows)


def test_the_verbosity_of_others_only_ever_adds() -> None:
    assert read("--v=2").level is LogLevel.INFO
    assert read("--v=2", "--log-level=debug").level is LogLevel.DEBUG
    assert read("--log-level=warning").level is LogLevel.WARNING
    assert read("--log-format=json").form is LogFormat.JSON


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--controllers=servcie",), "'servcie'"),
        (("--controllers=-service",), "no controller to run"),
        (("--leader-elect-renew-deadline=15s",), "--leader-elect-renew-deadline (15 s)"),
        (("--leader-elect-retry-period=9s",), "--leader-elect-retry-period (9 s)"),
        (("--leader-elect-retry-period=0",), "--leader-elect-retry-period (0 s)"),
        (("--leader-elect-lease-duration=500ms", "--leader-elect-renew-deadline=400ms"), "0.5 s"),
        (("--tls-cert-file=/a",), "--tls-private-key-file"),
        (("--authorization-always-allow-paths=healthz",), "'healthz'"),
        (("--autoscaler-endpoint=127.0.0.1:8086",), "--autoscaler-client-ca-file is needed"),
        (("--load-balancer-class=plain",), "'plain'"),
        (("--load-balancer-size=huge",), "small, medium, large"),
        (("--cluster-cidr=10.0.0.0/8,10.1.0.0/16",), "one network for each family"),
        (("--cluster-cidr=10.0.0.1/8",), "10.0.0.1/8"),
        (("--bind-address=localhost",), "'localhost'"),
        (("--absence-confirmations=1",), "2 to 100"),
        (("--absence-breaker-fraction=1.1",), "0 to 1"),
        (("--kube-api-qps=5", "--kube-api-burst=0"), "--kube-api-burst"),
        (("--cluster-id=a b",), "--cluster-id"),
        (("--ca-file=/none",), "--ca-file"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(flags: tuple[str, ...], named: str) -> None:
    found = problems(*flags)
    assert any(named in problem for problem in found), found


def test_a_secure_port_of_zero_serves_nothing() -> None:
    assert read("--secure-port=0").http_endpoint is None


def test_the_autoscaler_is_served_without_tls_only_when_told_so() -> None:
    flags = ("--autoscaler-endpoint=127.0.0.1:8086", "--autoscaler-groups-file=/groups")
    assert len(problems(*flags)) == 3
    assert read(*flags, "--autoscaler-allow-plaintext").autoscaler_endpoint == TcpEndpoint("127.0.0.1", 8086)


def test_the_key_is_in_no_text() -> None:
    assert "hunter2" not in repr(read())
