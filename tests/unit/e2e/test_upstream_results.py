"""What is read out of the storage suite's files, and the page made of it."""

from pathlib import Path

import pytest

from tests.e2e.upstream import driver_file, results
from tests.e2e.upstream.excluded import EXCLUDED, excluded, has_resource
from tests.e2e.upstream.page import Results, page
from tests.e2e.upstream.results import Outcome, Spec

JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase name="[It] External Storage [Driver: d] works [Slow] [Slow, Serial]" status="passed" time="1.5"></testcase>
<testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
<testcase name="[It] breaks" status="failed" time="2"><failure message="it broke">long</failure></testcase>
<testcase name="[It] is not for us" status="skipped" time="0"><skipped message="skipped - no RWX"></skipped></testcase>
<testcase name="[It] was filtered out" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>"""


def test_selected_specs_are_read_and_the_others_are_not() -> None:
    assert results.read(JUNIT) == (
        Spec("External Storage [Driver: d] works", Outcome.PASSED, 1.5),
        Spec("breaks", Outcome.FAILED, 2.0, "it broke"),
        Spec("is not for us", Outcome.SKIPPED, 0.0, "no RWX"),
    )


def test_a_spec_that_failed_once_failed() -> None:
    passed, failed = Spec("a", Outcome.PASSED, 1.0), Spec("a", Outcome.FAILED, 1.0)
    assert results.merge([[passed], [failed]])["a"] is failed
    assert results.merge([[failed], [passed]])["a"] is failed
    assert results.merge([[Spec("a", Outcome.SKIPPED, 0.0)], [passed]])["a"] is passed


def test_the_page_names_every_failure_and_every_skip_with_its_reason() -> None:
    found = {"ext4": Results(results.merge([results.read(JUNIT)])), "xfs": Results({}, not_run=("plain",))}
    text = page(found, versions="v1", has_resource=False)
    assert "| ext4 | 1 | 1 | 1 | none |" in text
    assert "| xfs | 0 | 0 | 0 | plain |" in text
    assert "| ext4 | breaks | it broke |" in text
    assert "| ext4 | is not for us | no RWX |" in text
    assert all(f"`{name}`" in text for name in driver_file.NOT_CLAIMED)
    assert all(one.reason.split("`")[0][:60] in text for one in EXCLUDED)


def test_growing_a_mounted_ext4_is_left_away_only_where_the_kernel_would_refuse_it() -> None:
    growing = {one for one in EXCLUDED if one.only_without_resource}
    assert growing
    assert growing <= set(excluded("ext4", has_resource=False))
    assert growing.isdisjoint(excluded("ext4", has_resource=True))
    assert growing.isdisjoint(excluded("xfs", has_resource=False))


@pytest.mark.parametrize(("mask", "expected"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_the_capability_is_read_from_the_process(tmp_path: Path, mask: str, expected: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t{mask}\n")
    assert has_resource(status) is expected


def test_no_capability_is_both_claimed_and_not() -> None:
    assert not set(driver_file.CAPABILITIES) & set(driver_file.NOT_CLAIMED)
