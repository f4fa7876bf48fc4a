import pytest

from ccm.serving.health import LEADER_TOLERANCE_S, Health, LeadershipCheck, Page


def test_a_process_without_checks_is_well() -> None:
    report = Health().report(Page.HEALTH)
    assert report.is_good
    assert report.text == "[+]ping ok\nhealthz check passed\n"


def test_one_check_that_fails_fails_its_pages_and_names_itself() -> None:
    health = Health()
    with health.alive("service", str), health.ready("nodes-synced", lambda: "not yet listed"):
        assert health.report(Page.HEALTH).is_good
        assert health.report(Page.LIVE).is_good
        report = health.report(Page.READY)
        assert not report.is_good
        assert "[-]nodes-synced failed: not yet listed" in report.text
        assert "[+]service ok" in report.text
        assert "readyz check failed" in report.text
        assert health.report(Page.READY, excluded=["nodes-synced"]).is_good


def test_one_check_can_be_asked_alone() -> None:
    health = Health()
    with health.alive("leaderElection", lambda: "stuck"):
        one = health.one(Page.LIVE, "leaderElection")
        assert one is not None
        assert (one.is_good, one.text) == (False, "stuck\n")
        assert health.one(Page.LIVE, "other") is None
    assert health.one(Page.LIVE, "leaderElection") is None


def test_a_check_is_asked_as_long_as_its_block_runs() -> None:
    health = Health()
    with pytest.raises(RuntimeError), health.alive("service", lambda: "bad"):  # noqa: PT012 - the block is the point
        assert not health.report(Page.HEALTH).is_good
        raise RuntimeError
    assert health.report(Page.HEALTH).is_good


def test_two_checks_of_one_name_are_a_mistake() -> None:
    health = Health()
    with health.alive("service", str), pytest.raises(ValueError, match="service"), health.alive("service", str):
        pass


class Leader:
    def __init__(self) -> None:
        self.now, self.works, self.is_valid = 100.0, False, False
        self.check = LeadershipCheck(
            lambda: self.works, lambda: self.is_valid, tolerance_s=LEADER_TOLERANCE_S, clock=lambda: self.now
        )


def test_a_leader_is_stuck_only_when_its_work_goes_on_long_after_the_lease() -> None:
    leader = Leader()
    leader.works = True
    assert leader.check() == ""
    leader.now += LEADER_TOLERANCE_S
    assert leader.check() == ""
    leader.now += 1
    assert "21 s ago" in leader.check()


def test_who_waits_for_the_lease_and_who_holds_it_is_well() -> None:
    leader = Leader()
    for works, is_valid in ((False, False), (True, True)):
        leader.works, leader.is_valid = works, is_valid
        assert leader.check() == ""
        leader.now += 1000
        assert leader.check() == ""


def test_a_lease_that_is_held_again_begins_the_time_anew() -> None:
    leader = Leader()
    leader.works = True
    assert leader.check() == ""
    leader.now, leader.is_valid = 200.0, True
    assert leader.check() == ""
    leader.is_valid = False
    assert leader.check() == ""
