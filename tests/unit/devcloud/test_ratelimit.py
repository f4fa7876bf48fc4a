"""Token buckets."""

from devcloud.ratelimit import RateLimiter, bucket_of


def test_burst_then_rate() -> None:
    now = [0.0]
    limiter = RateLimiter(100.0, 200.0, clock=lambda: now[0])

    assert sum(limiter.allows("a") for _ in range(250)) == 200
    now[0] += 0.1
    assert sum(limiter.allows("a") for _ in range(250)) == 10
    assert limiter.allows("b")


def test_buckets_are_dropped_every_ten_minutes() -> None:
    now = [0.0]
    limiter = RateLimiter(0.0001, 1.0, clock=lambda: now[0])

    assert limiter.allows("a")
    assert not limiter.allows("a")
    now[0] = 600.0
    assert limiter.allows("a")


def test_rate_of_zero_allows_everything() -> None:
    limiter = RateLimiter(0.0, 0.0)

    assert all(limiter.allows("a") for _ in range(1000))


def test_all_platform_keys_share_a_bucket() -> None:
    assert bucket_of("thecloud_" + "0" * 32, "10.0.0.1") == bucket_of("thecloud_" + "f" * 32, "10.0.0.2")
    assert bucket_of("", "10.0.0.1") != bucket_of("", "10.0.0.2")
