"""What the tests of reflectors share."""

import pytest

from ccm.kube.kinds import NODES
from ccm.kube.reflector import Reflector
from ccm.kube.store import Store

PATH = "/api/v1/nodes"


class Seen:
    """What a store told a subscriber."""

    def __init__(self, store):
        self.changes = []
        store.subscribe(lambda old, new: self.changes.append((old and old.key, new and new.key)))

    @property
    def gone(self):
        return [old for old, new in self.changes if new is None]


def reflect(client, kind=NODES, **options):
    store = Store()
    return store, Reflector(client, kind, store, chance=lambda: 0.0, **options)


def names(store):
    return sorted(one.key for one in store.values())


def watches(api):
    return [one for one in api.requests if one.is_watch]


both_ways = pytest.mark.parametrize("streams_list", [True, False], ids=["streamed", "listed"])
