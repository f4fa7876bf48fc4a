"""Names and keys of the strict tier: they say whose they are, and they fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccm.cloud.strict_names import Names, key_of
from ccm.ports import Cause, CloudError

usable = st.from_regex(r"[A-Za-z0-9._-]{1,63}", fullmatch=True)
clusters = usable | st.text(max_size=200)
uids = st.from_regex(r"[A-Za-z0-9-]{1,57}", fullmatch=True)
ports = st.integers(1, 65535)


@settings(deadline=None)
@given(cluster=clusters, uid=uids, port=ports)
def test_a_name_says_what_it_is_for_and_fits(cluster, uid, port):
    names = Names(cluster)
    name = names.name_of(uid, port)
    assert len(name) <= 128
    assert name.isascii()
    assert name.isprintable()
    assert names.read(name) == (uid, port)


@settings(deadline=None)
@given(one=clusters, other=clusters, uid=uids, port=ports)
def test_no_cluster_reads_the_names_of_another(one, other, uid, port):
    read = Names(other).read(Names(one).name_of(uid, port))
    assert (read is not None) is (one == other)


@settings(deadline=None)
@given(
    cluster=usable, text=st.text(max_size=60) | st.from_regex(r"[a-c.]{0,9}\.[a-c0-9]{0,3}\.[0-9]{0,6}", fullmatch=True)
)
def test_what_we_did_not_name_is_not_ours(cluster, text):
    read = Names(cluster).read(text)
    if read is not None:
        assert Names(cluster).name_of(*read) == text


@pytest.mark.parametrize(
    "text",
    ["", "c", "c.u", "c.u.", "c.u.0", "c.u.080", "c.u.65536", "c.u.80 ", "c.u.+80", "c.u.٨٠", "c..80", "cc.u.80"],
)
def test_near_misses(text):
    assert Names("c").read(text) is None


@settings(deadline=None)
@given(
    one=st.tuples(st.text(max_size=130), st.text(max_size=20), st.text(max_size=36), st.integers(0, 31)),
    other=st.tuples(st.text(max_size=130), st.text(max_size=20), st.text(max_size=36), st.integers(0, 31)),
)
def test_keys_fit_and_differ_where_anything_differs(one, other):
    def key(parts):
        name, algorithm, vpc_id, generation = parts
        return key_of(name, algorithm=algorithm, vpc_id=vpc_id, generation=generation)

    assert 0 < len(key(one)) <= 64
    assert key(one).isascii()
    assert key(one).isprintable()
    if "\0" not in "".join(map(str, (*one, *other))):
        assert (key(one) == key(other)) is (one == other)


@pytest.mark.parametrize("uid", ["", "a.b", "a/b", "x" * 58, "ü"])
def test_what_is_no_uid_is_refused(uid):
    with pytest.raises(CloudError) as caught:
        Names("c").name_of(uid, 80)
    assert caught.value.cause is Cause.REFUSED
