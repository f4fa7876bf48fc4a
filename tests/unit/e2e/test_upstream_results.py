"""What is read out of the storage suite's files, and the page made of it."""

from tests.e2e.upstream import driver_file, results
from tests.e2e.upstream.page import page
from tests.e2e.upstream.results import Outcome, Spec

JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase name="[It] External Storage [Driver: d] works [Slow] [Slow, Serial]" status="passed" time="1.5"></testcase>
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
    text = page({"ext4": results.merge([results.read(JUNIT)])}, versions="v1", full=True)
    assert "| ext4 | 1 | 1 | 1 |" in text
    assert "| ext4 | breaks | it broke |" in text
    assert "| ext4 | is not for us | no RWX |" in text
    assert all(f"`{name}`" in text for name in driver_file.NOT_CLAIMED)


def test_no_capability_is_both_claimed_and_not() -> None:
    assert not set(driver_file.CAPABILITIES) & set(driver_file.NOT_CLAIMED)
