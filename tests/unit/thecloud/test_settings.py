"""Settings: everything wrong is named at once."""

import pytest

from thecloud.settings import PlatformSettings


def settings(**fields):
    return PlatformSettings(**({"base_url": "http://platform.test:8080", "api_key": "k"} | fields))


def test_good_settings_have_no_problems(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    good = settings(base_url="https://platform.test/api", ca_file=ca, tenant_id="4f1c2d3e-0000-4000-8000-000000000001")
    assert good.problems() == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "platform.test"}, "base_url is 'platform.test'"),
        ({"base_url": ""}, "base_url is ''"),
        ({"base_url": "ftp://x"}, "base_url is 'ftp://x'"),
        ({"base_url": "http://x:0"}, "base_url is 'http://x:0'"),
        ({"base_url": "http://x:99999"}, "base_url cannot be read"),
        ({"base_url": "http://[::1"}, "base_url cannot be read"),
        ({"base_url": "http://x/?a=b"}, "base_url must not have a query"),
        ({"api_key": ""}, "api_key_file or api_key is needed"),
        ({"api_key": " "}, "api_key_file or api_key is needed"),
        ({"api_key": "two words"}, "api_key does not hold a key"),
        ({"api_key": "line\nline"}, "api_key does not hold a key"),
        ({"api_key": "schlüssel"}, "api_key does not hold a key"),
        ({"api_key": "x" * 4097}, "api_key does not hold a key"),
        ({"tenant_id": "mine"}, "tenant_id is 'mine'"),
        ({"requests_per_s": 0}, "requests_per_s is 0"),
        ({"connect_timeout_s": -1}, "connect_timeout_s is -1"),
        ({"read_attempt_s": 0}, "read_attempt_s is 0"),
        ({"features_refresh_s": 0}, "features_refresh_s is 0"),
        ({"burst": 0}, "burst is 0"),
        ({"max_connections": 0}, "max_connections is 0"),
        ({"listing_window_s": -0.1}, "listing_window_s is -0.1"),
    ],
)
def test_each_wrong_setting_is_named(fields, words):
    (problem,) = settings(**fields).problems()
    assert problem.startswith(words)


def test_all_problems_come_at_once(tmp_path):
    bad = settings(base_url="x", api_key_file=tmp_path / "k", ca_file=tmp_path / "no", burst=0)
    assert [problem.split()[0] for problem in bad.problems()] == ["base_url", "api_key_file", "burst", "ca_file"]


def test_a_password_in_the_address_is_refused_and_not_shown():
    (problem,) = settings(base_url="http://user:s3cret@x").problems()
    assert "password" in problem
    assert "s3cret" not in problem
