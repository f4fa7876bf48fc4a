import pytest

from ccm.selection import CONTROLLERS, LIFECYCLE, NODE, ROUTE, SERVICE, is_selected, unknown_words


@pytest.mark.parametrize(
    ("words", "picked"),
    [
        (("*",), {NODE, LIFECYCLE, SERVICE, ROUTE}),
        (("*", "-route"), {NODE, LIFECYCLE, SERVICE}),
        (("-node-route-controller", "*"), {NODE, LIFECYCLE, SERVICE}),
        (("service",), {SERVICE}),
        (("cloud-node", "cloud-node-lifecycle-controller"), {NODE, LIFECYCLE}),
        (("service", "-service", "*"), set(CONTROLLERS)),
        (("-service", "service"), set()),
        ((), set()),
    ],
)
def test_the_first_word_that_names_a_controller_decides(words: tuple[str, ...], picked: set[str]) -> None:
    assert {name for name in CONTROLLERS if is_selected(name, words)} == picked


def test_words_that_name_nothing_are_told() -> None:
    assert unknown_words(("*", "service", "-route", "servcie", "-", "")) == ("servcie", "-", "")
