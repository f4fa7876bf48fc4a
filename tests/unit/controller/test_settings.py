import pytest

from controller.settings import ControllerSettings
from process.settings import SettingsError, options_of, read_settings

GOOD = {
    "TC_ENDPOINT": "unix:///run/csi.sock",
    "TC_PLATFORM_URL": "http://cloud:8080",
    "TC_CLUSTER_ID": "prod-1",
    "TC_API_KEY": "thecloud_secret",
}


def problems(**changes: str | None) -> str:
    environ = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        read_settings(ControllerSettings, [], environ)
    return "; ".join(caught.value.problems)


def test_settings_are_read_and_handed_to_the_client():
    settings = read_settings(
        ControllerSettings, ["--adopt-name-prefix", "pvc-old-,legacy-", "--requests-per-s=50"], GOOD
    )
    assert settings.ownership().adopted_prefixes == ("pvc-old-", "legacy-")
    platform = settings.platform()
    assert (platform.base_url, platform.requests_per_s) == ("http://cloud:8080", 50.0)
    assert platform.problems() == ()


def test_the_api_key_is_never_part_of_a_text():
    assert "thecloud_secret" not in repr(read_settings(ControllerSettings, [], GOOD))
    assert "thecloud_secret" not in problems(TC_CLUSTER_ID="-")


def test_the_api_key_has_no_flag():
    with pytest.raises(SettingsError) as caught:
        read_settings(ControllerSettings, ["--api-key", "thecloud_secret"], GOOD)
    assert "TC_API_KEY" in str(caught.value)
    assert "thecloud_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"TC_PLATFORM_URL": None}, "--platform-url"),
        ({"TC_CLUSTER_ID": None}, "--cluster-id"),
        ({"TC_CLUSTER_ID": "a b"}, "--cluster-id"),
        ({"TC_PLATFORM_URL": "ftp://x"}, "--platform-url"),
        ({"TC_API_KEY": None}, "--api-key-file"),
        ({"TC_API_KEY": "two words"}, "TC_API_KEY does not hold a key"),
        ({"TC_TENANT_ID": "me"}, "--tenant-id"),
        ({"TC_CA_FILE": "/nonexistent"}, "--ca-file"),
        ({"TC_NAME_PREFIX": "Csi_"}, "--name-prefix"),
        ({"TC_ADOPT_NAME_PREFIX": "a"}, "--adopt-name-prefix"),
    ],
)
def test_what_is_wrong_is_named_as_the_operator_knows_it(changes, named):
    assert named in problems(**changes)


def test_several_problems_are_reported_at_once():
    found = problems(TC_CLUSTER_ID="a b", TC_NAME_PREFIX="X", TC_PLATFORM_URL="ftp://x")
    assert all(name in found for name in ("--cluster-id", "--name-prefix", "--platform-url"))


def test_every_option_says_what_it_is():
    assert all(row.doc.endswith(".") for row in options_of(ControllerSettings))
