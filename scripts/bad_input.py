"""What users get wrong, and what they are told: the table behind docs/bad-input.md and the test that proves it.

A row's text is what the driver says, which the sidecar puts behind words of its own into the event; `…` stands for what
differs from case to case. The test of the page runs every row against a controller and an embedded platform.
"""

from collections.abc import Iterable
from dataclasses import dataclass

PROVISIONING = "PersistentVolumeClaim: `ProvisioningFailed`"
ATTACHING = "Pod: `FailedAttachVolume`"
RESIZING = "PersistentVolumeClaim: `VolumeResizeFailed`"
MODIFYING = "PersistentVolumeClaim: `VolumeModifyFailed`"
SNAPSHOT = "VolumeSnapshotContent: `SnapshotCreationFailed`; VolumeSnapshot: `status.error`"
CREDENTIALS = "Secret `thecloud-api-credentials`"


@dataclass(frozen=True, slots=True)
class BadInput:
    """One row."""

    name: str
    did: str
    event: str
    """Kind of object and reason of the event."""
    code: str
    """gRPC code, by which Kubernetes decides whether it asks again by itself."""
    text: str
    do: str


BAD_INPUT: tuple[BadInput, ...] = (
    BadInput(
        "wrong key",
        "The API key is wrong, was revoked, or may not do what is asked",
        PROVISIONING,
        "UNAVAILABLE",
        "…: the platform refuses the API key or what it may do; if that stays, give this controller a valid key (in "
        "the shipped manifests `api-key` in the Secret thecloud-api-credentials): …: HTTP 401 UNAUTHORIZED: …",
        f"put a valid key into `api-key` of the {CREDENTIALS}; it is read again without a restart",
    ),
    BadInput(
        "unreachable",
        "The platform's address is wrong, or the platform is away",
        PROVISIONING,
        "UNAVAILABLE",
        "…: the platform cannot be reached; if that stays, check --platform-url, its name in the DNS, and what lies "
        "between this cluster and it: …: … cannot be reached: ConnectError: …",
        "correct `--platform-url` (`TC_PLATFORM_URL`); look at the DNS of the cluster, NetworkPolicies, firewalls",
    ),
    BadInput(
        "wrong CA",
        "The platform's certificate is signed by an authority that the controller does not know",
        PROVISIONING,
        "UNAVAILABLE",
        "…: the platform's certificate is not trusted; give --ca-file the authority that signed it (in the shipped "
        "manifests `ca.crt` in the Secret thecloud-api-credentials), or correct --platform-url: …: the certificate "
        "that … shows is not trusted: …",
        f"put the authority's certificate (PEM) into `ca.crt` of the {CREDENTIALS}, then restart the controller",
    ),
    BadInput(
        "unknown parameter",
        "StorageClass with a parameter that does not exist",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "parameters['…'] is not known; a StorageClass understands mkfsOptions, performanceClass, tags, zone, fsType",
        "make the class anew with [parameters](reference/parameters.md) that exist, then the claim",
    ),
    BadInput(
        "unknown file system",
        "StorageClass with a file system that cannot be had",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "volume_capabilities[0].mount.fs_type is '…'; ext4, xfs, btrfs can be had (parameter "
        "csi.storage.k8s.io/fstype of the StorageClass)",
        "make the class anew with `ext4`, `xfs` or `btrfs`",
    ),
    BadInput(
        "forbidden mkfs option",
        "StorageClass whose `mkfsOptions` are not allowed",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "mkfsOptions: '…' is no option for ext4 here; allowed are …, each followed by its value; …",
        "see the [table of options](reference/parameters.md#mkfsoptions)",
    ),
    BadInput(
        "unknown performance class",
        "StorageClass or VolumeAttributesClass with a performance class that the platform does not have",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "performanceClass '…' is no class of the platform; correct the StorageClass or the VolumeAttributesClass",
        "ask the platform for its classes (`GET /performance-classes`)",
    ),
    BadInput(
        "not offered",
        "StorageClass with a parameter that this platform does not carry out (strict tier)",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "parameters['…'] cannot be had: the platform does not announce …",
        "leave the parameter out; [what needs what](reference/parameters.md)",
    ),
    BadInput(
        "too large",
        "Claim larger than the platform's largest volume",
        PROVISIONING,
        "OUT_OF_RANGE",
        "capacity_range: asked for are … GiB (… bytes), but the largest volume has 16000 GiB; ask for less",
        "ask for less; several volumes can be joined in the pod",
    ),
    BadInput(
        "quota",
        "Claim larger than what is left of the quota or the storage",
        PROVISIONING,
        "RESOURCE_EXHAUSTED",
        "making volume … (… GiB): a quota or a limit of the platform is reached; ask for less, delete what is not "
        "needed any more, or have it raised: …",
        "delete volumes that are not needed, or have the quota raised; the call repeats by itself",
    ),
    BadInput(
        "no such zone",
        "StorageClass whose `zone` does not exist",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "parameters['zone']: the platform has no zone …; it has …. Correct zone or allowedTopologies of the class",
        "correct the class",
    ),
    BadInput(
        "no such topology",
        "`allowedTopologies`, or the label of the pod's node, with a zone that does not exist",
        PROVISIONING,
        "RESOURCE_EXHAUSTED",
        "volume … can be made in none of the zones that it has to be reachable from: the platform has no zone …; it "
        "has …. Correct zone or allowedTopologies of the class",
        "correct the class, or the zone of the nodes (label `topology.kubernetes.io/zone`, set by the cloud controller "
        "manager)",
    ),
    BadInput(
        "zone apart from the pod",
        "StorageClass whose `zone` is another one than that of the pod's node",
        PROVISIONING,
        "RESOURCE_EXHAUSTED",
        "parameter zone is '…', but the volume must be reachable from …",
        "leave `zone` out of the class, so that it follows the pod (`WaitForFirstConsumer`)",
    ),
    BadInput(
        "foreign topology key",
        "`allowedTopologies` with another key than the driver's",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "accessibility_requirements.requisite[0] has the keys '…'; exactly topology.csi.thecloud.io/zone with a value "
        "is understood, in allowedTopologies of a class as well",
        "use the key `topology.csi.thecloud.io/zone`",
    ),
    BadInput(
        "several nodes",
        "Claim with access mode ReadWriteMany or ReadOnlyMany",
        PROVISIONING,
        "INVALID_ARGUMENT",
        "volume_capabilities[0].access_mode is …; a volume can be attached to one node at a time, so only SINGLE_NODE "
        "modes (ReadWriteOnce, ReadWriteOncePod) can be had",
        "ask for ReadWriteOnce or ReadWriteOncePod; share files by a service in the cluster",
    ),
    BadInput(
        "restore into less",
        "Claim from a snapshot or a claim that is larger",
        PROVISIONING,
        "OUT_OF_RANGE",
        "capacity_range allows … bytes (… GiB), but the source holds … (… GiB); ask for at least the size of the "
        "source",
        "ask for the size that the message names",
    ),
    BadInput(
        "snapshot class of another driver",
        "VolumeSnapshot with a class of this driver, of a claim that another driver made",
        SNAPSHOT,
        "NOT_FOUND",
        "source_volume_id: '…' is no volume of this driver. A snapshot class of csi.thecloud.io is for claims of "
        "csi.thecloud.io: use a class of the driver that made the claim's volume",
        "use the class of the claim's driver. The other way round the other driver is asked, or, when there is none, "
        "nobody: the VolumeSnapshot then waits with the event `CreatingSnapshot`",
    ),
    BadInput(
        "unknown attribute",
        "VolumeAttributesClass with a parameter that does not exist",
        MODIFYING,
        "INVALID_ARGUMENT",
        "mutable_parameters['…'] is not known; a VolumeAttributesClass understands performanceClass, tags",
        "give the claim a class with parameters that exist, or the former one",
    ),
    BadInput(
        "growth beyond the largest",
        "Claim that is grown beyond the platform's largest volume",
        RESIZING,
        "OUT_OF_RANGE",
        "capacity_range: asked for are … GiB (… bytes), but the largest volume has 16000 GiB; ask for less",
        "lower the request of the claim; Kubernetes then goes on with that",
    ),
    BadInput(
        "node without instance",
        "Node whose name or provider id is no instance of the platform's tenant",
        ATTACHING,
        "NOT_FOUND",
        "node '…' is no instance of the platform: compared with … of every instance of the tenant. If the node exists, "
        "start its plugin with the uuid of its instance as node id.",
        "give the kubelet `--provider-id=thecloud://<instance UUID>`, or the node plugin `--node-id`; check the tenant "
        "of the key",
    ),
    BadInput(
        "full node",
        "More pods with volumes on a node than the instance takes volumes",
        ATTACHING,
        "RESOURCE_EXHAUSTED",
        "node '…' (instance …) takes no more volumes. Kubernetes from 1.34 on places the pod elsewhere; if this "
        "repeats, --max-volumes of its node plugin is more than the platform allows, or other disks take its places "
        "(--reserved-volumes). …",
        "nothing at first; if it repeats, set `--max-volumes` to what the platform allows",
    ),
)


def page() -> str:
    """Give docs/bad-input.md."""
    return "\n".join(
        [
            "# Wrong input, and what the event says\n",
            "Generated by `make docs` from `scripts/bad_input.py`; do not edit. Each row is proved by a test.\n",
            "`kubectl describe` of the object shows the event. Before the text stand words of the sidecar, such as",
            '`failed to provision volume with StorageClass "…": rpc error: code = … desc = …`. [Status',
            "codes](reference/codes.md) say whether Kubernetes asks again by itself, [errors](errors.md) what all",
            "else means. While the platform refuses or cannot be reached, `/readyz` of the controller says the same.\n",
            "| What you did | Event | Code | Text | What to do |",
            "|---|---|---|---|---|",
            *rows(BAD_INPUT),
            "",
        ]
    )


def rows(table: Iterable[BadInput]) -> list[str]:
    """Give the table's lines."""
    return [f"| {row.did} | {row.event} | `{row.code}` | {row.text} | {row.do} |" for row in table]
