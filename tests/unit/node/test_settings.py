"""Settings of the node: every option from flag and variable, all problems at once."""

from pathlib import Path

import pytest

from csi.endpoint import UnixEndpoint
from node.settings import NodeSettings
from process.settings import SettingsError, help_text, options_of, read_settings


def test_the_defaults_fit_a_pod_on_a_kubernetes_node() -> None:
    settings = read_settings(NodeSettings, [], {})
    assert settings.endpoint == UnixEndpoint(Path("/csi/csi.sock"))
    assert settings.state_folder == Path("/var/lib/kubelet/plugins/csi.thecloud.io/state")
    assert settings.socket_for_kubelet == Path("/var/lib/kubelet/plugins/csi.thecloud.io/csi.sock")
    assert (settings.max_volumes, settings.registration_dir, settings.loop_disk_dir) == (20, None, None)
    assert settings.can_expand
    assert not settings.use_dmi


def test_flags_and_variables_are_read() -> None:
    argv = ["--node-id", "i-1", "--kubelet-dir", "/k", "--registration-dir", "/r", "--use-dmi"]
    environ = {
        "TC_MAX_VOLUMES": "7",
        "TC_DEVICE_WAIT_S": "2",
        "TC_PLUGIN_CAPABILITIES": "CONTROLLER_SERVICE",
        "TC_LOOP_DISK_DIR": "/d",
    }
    settings = read_settings(NodeSettings, argv, environ)
    assert (settings.node_id, settings.max_volumes, settings.device_wait_s) == ("i-1", 7, 2.0)
    assert settings.socket_for_kubelet == Path("/k/plugins/csi.thecloud.io/csi.sock")
    assert (settings.registration_dir, settings.loop_disk_dir) == (Path("/r"), Path("/d"))
    assert settings.use_dmi
    assert not settings.can_expand
    given = read_settings(NodeSettings, ["--kubelet-endpoint", "/x/y.sock"], {})
    assert given.socket_for_kubelet == Path("/x/y.sock")


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["--max-volumes", "0"], ["--max-volumes"]),
        (["--plugin-capabilities", "OFFLINE,NONSENSE"], ["--plugin-capabilities", "NONSENSE"]),
        (["--max-volumes", "3", "--reserved-volumes", "3"], ["--reserved-volumes", "--max-volumes"]),
        (["--state-dir", "relative", "--format-concurrency", "0"], ["--state-dir", "--format-concurrency"]),
        (["--endpoint", "tcp://127.0.0.1:1", "--registration-dir", "/r"], ["--registration-dir", "--endpoint"]),
        (["--node-id", "x" * 300], ["--node-id"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_all_problems_are_told_at_once_by_name(argv: list[str], names: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(NodeSettings, argv, {})
    assert all(name in str(caught.value) for name in names)


def test_every_option_is_documented() -> None:
    text = help_text(NodeSettings, "tc-csi-node", "")
    for row in options_of(NodeSettings):
        assert row.flag in text
        assert row.doc.endswith((".", "s")), row.name


def test_the_records_lie_below_the_kubelets_folder_wherever_that_is() -> None:
    settings = read_settings(NodeSettings, ["--kubelet-dir", "/data/kubelet"], {})
    assert settings.state_folder == Path("/data/kubelet/plugins/csi.thecloud.io/state")
    settings = read_settings(NodeSettings, ["--kubelet-dir", "/data/kubelet", "--state-dir", "/records"], {})
    assert settings.state_folder == Path("/records")
