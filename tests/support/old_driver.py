"""What the Go driver of the same name left in a cluster, and the calls that Kubernetes makes from it.

The objects are as csi-provisioner 5.0.1 and csi-attacher 4.6.1 wrote them from the old driver's answers: the volume's
id as handle, nothing of the driver's own in the attributes, the Node's name as node id, and `/dev/vdb` for every disk.
Requests are built from them as csi-attacher 4.13 and the kubelet 1.36 do.
"""

import hashlib
from typing import Any

from csi.pb import csi_pb2 as pb

NAME = "pvc-6f0c1f1e-3a47-4b1a-8a3c-0d2f6f0f7f11"
"""Of the PersistentVolume, and of the volume at the platform: the old driver took it over as it is."""
SIZE_GIB = 10
ATTACHMENT_METADATA = {"device": "/dev/vdb"}
"""status.attachmentMetadata of each of its VolumeAttachments."""
_MODES = {
    "ReadWriteOnce": pb.VolumeCapability.AccessMode.SINGLE_NODE_MULTI_WRITER,
    "ReadWriteOncePod": pb.VolumeCapability.AccessMode.SINGLE_NODE_SINGLE_WRITER,
    "ReadWriteMany": pb.VolumeCapability.AccessMode.MULTI_NODE_MULTI_WRITER,
}
"""For a driver with SINGLE_NODE_MULTI_WRITER, as the new one is."""


def persistent_volume(volume_id: str, *, fs_type: str = "ext4", access_mode: str = "ReadWriteOnce") -> dict[str, Any]:
    """Give a PersistentVolume of the old driver."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": NAME,
            "annotations": {
                "pv.kubernetes.io/provisioned-by": "csi.thecloud.io",
                "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
            },
            "finalizers": [
                "external-provisioner.volume.kubernetes.io/finalizer",
                "kubernetes.io/pv-protection",
                "external-attacher/csi-thecloud-io",
            ],
        },
        "spec": {
            "accessModes": [access_mode],
            "capacity": {"storage": f"{SIZE_GIB}Gi"},
            "csi": {
                "driver": "csi.thecloud.io",
                "fsType": fs_type,
                "volumeAttributes": {
                    "storage.kubernetes.io/csiProvisionerIdentity": "1718000000000-4321-csi.thecloud.io"
                },
                "volumeHandle": volume_id,
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "thecloud-block",
            "volumeMode": "Filesystem",
        },
    }


def attach_request(volume: dict[str, Any], node_id: str) -> pb.ControllerPublishVolumeRequest:
    """Give the attacher's call for a PersistentVolume."""
    csi = volume["spec"]["csi"]
    return pb.ControllerPublishVolumeRequest(
        volume_id=csi["volumeHandle"],
        node_id=node_id,
        volume_capability=_capability(volume),
        volume_context=csi["volumeAttributes"],
    )


def stage_request(volume: dict[str, Any], metadata: dict[str, str], kubelet_dir: str) -> pb.NodeStageVolumeRequest:
    """Give the kubelet's call for a PersistentVolume; `metadata` is its VolumeAttachment's."""
    csi = volume["spec"]["csi"]
    place = hashlib.sha256(csi["volumeHandle"].encode()).hexdigest()
    return pb.NodeStageVolumeRequest(
        volume_id=csi["volumeHandle"],
        staging_target_path=f"{kubelet_dir}/plugins/kubernetes.io/csi/csi.thecloud.io/{place}/globalmount",
        volume_capability=_capability(volume),
        volume_context=csi["volumeAttributes"],
        publish_context=metadata,
    )


def _capability(volume: dict[str, Any]) -> pb.VolumeCapability:
    (access_mode,) = volume["spec"]["accessModes"]
    return pb.VolumeCapability(
        mount=pb.VolumeCapability.MountVolume(
            fs_type=volume["spec"]["csi"]["fsType"], mount_flags=volume["spec"].get("mountOptions", ())
        ),
        access_mode=pb.VolumeCapability.AccessMode(mode=_MODES[access_mode]),
    )
