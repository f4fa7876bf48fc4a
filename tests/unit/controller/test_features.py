import re
from pathlib import Path

import pytest

from controller.features import (
    CONTROLLER_CAPABILITIES,
    GROUP_CAPABILITIES,
    PLUGIN_EXPANSION,
    PLUGIN_SERVICES,
    offered,
    require,
)
from csi.errors import CsiError, ErrorKind
from csi.pb import csi_pb2

API_PAGE = Path(__file__).parents[3] / "docs" / "platform-api.md"
TABLES = [
    (CONTROLLER_CAPABILITIES, csi_pb2.ControllerServiceCapability.RPC.Type),
    (GROUP_CAPABILITIES, csi_pb2.GroupControllerServiceCapability.RPC.Type),
    (PLUGIN_SERVICES, csi_pb2.PluginCapability.Service.Type),
    (PLUGIN_EXPANSION, csi_pb2.PluginCapability.VolumeExpansion.Type),
]


@pytest.mark.parametrize(("table", "enum"), TABLES)
def test_every_capability_of_the_tables_is_one_of_csi(table, enum):
    assert set(table) <= set(enum.keys())


@pytest.mark.parametrize(("table", "enum"), TABLES)
def test_every_feature_of_the_tables_is_described_for_the_platform(table, enum):
    described = set(re.findall(r"^\| `([a-z.-]+)` \|", API_PAGE.read_text(), re.MULTILINE))
    assert set().union(*table.values()) <= described


def test_every_controller_capability_of_csi_is_advertised_or_left_out_on_purpose():
    known = set(csi_pb2.ControllerServiceCapability.RPC.Type.keys())
    assert known - set(CONTROLLER_CAPABILITIES) == {"UNKNOWN"}


def test_a_strict_platform_carries_exactly_the_basic_capabilities():
    assert offered(CONTROLLER_CAPABILITIES, frozenset()) == (
        "CREATE_DELETE_VOLUME",
        "PUBLISH_UNPUBLISH_VOLUME",
        "LIST_VOLUMES",
        "LIST_VOLUMES_PUBLISHED_NODES",
        "GET_VOLUME",
        "SINGLE_NODE_MULTI_WRITER",
    )
    assert offered(PLUGIN_SERVICES, frozenset()) == ("CONTROLLER_SERVICE",)
    assert offered(PLUGIN_EXPANSION, frozenset()) == offered(GROUP_CAPABILITIES, frozenset()) == ()


def test_volume_health_can_be_listed_only_where_it_can_be_read():
    assert CONTROLLER_CAPABILITIES["LIST_VOLUME_HEALTH"] >= CONTROLLER_CAPABILITIES["GET_VOLUME_HEALTH"]


def test_a_capability_that_is_not_offered_is_unsupported_and_says_what_is_missing():
    with pytest.raises(CsiError) as caught:
        require(CONTROLLER_CAPABILITIES, "EXPAND_VOLUME", frozenset())
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "volume.resize" in caught.value.message
