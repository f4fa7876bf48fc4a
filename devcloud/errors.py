"""What can go wrong in the platform, in its own terms; `api/quirks.py` turns each into an HTTP answer per tier."""


class CloudError(Exception):
    """Base of everything a domain function refuses with; the text is for the person who reads the answer."""


class InvalidError(CloudError):
    """The request is wrong and stays wrong."""


class BodyError(InvalidError):
    """The request's body is no JSON object of the right shape."""


class UnauthorizedError(CloudError):
    """No valid credential came with the request."""


class DeniedError(CloudError):
    """The caller is known and may not do this."""


class ConflictError(CloudError):
    """The object is in a state that forbids this and none of the narrower errors fits."""


class MissingError(CloudError):
    """The object does not exist, or not for this caller."""

    def __init__(self, resource: str, ref: str) -> None:
        super().__init__(f"{resource.replace('_', ' ')} {ref} not found")
        self.resource = resource
        self.ref = ref


class NameTakenError(CloudError):
    """Another object has the name."""

    def __init__(self, resource: str, name: str) -> None:
        super().__init__(f"{resource.replace('_', ' ')} name {name!r} is taken")
        self.resource = resource
        self.name = name


class KeyReusedError(CloudError):
    """The idempotency key was used with another request."""

    def __init__(self, resource: str, key: str) -> None:
        super().__init__(f"idempotency key {key!r} was used with another request")
        self.resource = resource
        self.key = key


class AttachedError(CloudError):
    """The volume is attached, to another instance or in another mode than asked for."""

    def __init__(self, volume_id: str, instance_id: str | None, *, read_only: bool = False) -> None:
        mode = "read-only" if read_only else "read-write"
        super().__init__(f"volume {volume_id} is attached to instance {instance_id or '(none recorded)'} {mode}")
        self.volume_id = volume_id
        self.instance_id = instance_id


class DeleteInUseError(CloudError):
    """A volume that is attached cannot be deleted."""

    def __init__(self, volume_id: str, instance_id: str | None) -> None:
        super().__init__(
            f"volume {volume_id} is attached to instance {instance_id or '(none recorded)'}; detach it first"
        )
        self.volume_id = volume_id
        self.instance_id = instance_id


class NotAttachedError(CloudError):
    """The volume is not attached."""

    def __init__(self, volume_id: str) -> None:
        super().__init__(f"volume {volume_id} is not attached")
        self.volume_id = volume_id


class NotHolderError(CloudError):
    """The volume is attached to another instance than the one named."""

    def __init__(self, volume_id: str, holder_id: str | None) -> None:
        super().__init__(f"volume {volume_id} is held by instance {holder_id or '(none recorded)'}")
        self.volume_id = volume_id
        self.holder_id = holder_id


class DiskBusyError(CloudError):
    """The instance still has the disk mounted or open."""

    def __init__(self, serial: str, seen: str) -> None:
        super().__init__(f"disk {serial} is in use in the instance: {seen}")
        self.serial = serial


class InGroupError(CloudError):
    """The snapshot belongs to a group and goes with it only."""

    def __init__(self, snapshot_id: str, group_id: str) -> None:
        super().__init__(f"snapshot {snapshot_id} belongs to snapshot group {group_id}; delete the group")
        self.snapshot_id = snapshot_id
        self.group_id = group_id


class GuardError(CloudError):
    """A guard of the request (`?tag=`) does not match the object."""


class FullError(CloudError):
    """The instance has as many volumes as it can take."""

    def __init__(self, instance_id: str, limit: int) -> None:
        super().__init__(f"instance {instance_id} already has its {limit} volumes")
        self.instance_id = instance_id


class QuotaError(CloudError):
    """A quota would be exceeded."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"quota exceeded for {resource}")
        self.resource = resource


class NotRunningError(CloudError):
    """The instance cannot do this in its state."""

    def __init__(self, instance_id: str, status: str) -> None:
        super().__init__(f"instance {instance_id} is {status}, not RUNNING")
        self.instance_id = instance_id


class ZoneError(CloudError):
    """Volume and instance are in different zones."""

    def __init__(self, volume_id: str, volume_zone: str, instance_zone: str) -> None:
        super().__init__(f"volume {volume_id} is in zone {volume_zone}, the instance in {instance_zone}")
        self.volume_id = volume_id


class BackendError(CloudError):
    """The storage or the compute back end failed."""


class TimedOutError(CloudError):
    """It did not happen within the time; it may still."""


class MalformedKeyError(InvalidError):
    """A key is named by something that is no uuid, or a body does not fit, where that is an untyped error."""


class DanglingError(MissingError):
    """The request refers to an object that does not exist; where only a foreign key notices, it is an untyped error."""


class PortFormatError(InvalidError):
    """A port mapping is malformed."""


class PortsError(CloudError):
    """An instance asks for too many port mappings."""


class UntypedError(CloudError):
    """The database refuses, and nobody says why: what the published platform answers with its generic failure."""


class BareBodyError(BodyError):
    """A body that does not fit, at a route of the published platform that answers with a text instead of an object."""


class BareIdError(InvalidError):
    """An id that is none, at a route of the published platform that answers with a text instead of an object."""


class TargetError(InvalidError):
    """An instance cannot be a target of the load balancer: there is none, or it lies in another network."""

    def __init__(self, instance_id: str, seen: str) -> None:
        super().__init__(f"instance {instance_id} cannot be a target: {seen}")
        self.instance_id = instance_id


class ListenerError(InvalidError):
    """A listener wants what does not go together, or refers to what is not there."""

    def __init__(self, group: str, listener: str, seen: str) -> None:
        super().__init__(f"listener {listener!r} of group {group!r}: {seen}")
        self.group = group
        self.listener = listener


class PortTakenError(CloudError):
    """Another listener of the load balancer has the port."""

    def __init__(self, group: str, port: int) -> None:
        super().__init__(f"port {port} belongs to a listener of group {group!r}")
        self.group = group
        self.port = str(port)


class VersionError(CloudError):
    """The object is not the one any more that the caller has seen."""

    def __init__(self, resource: str, object_id: str, version: int) -> None:
        super().__init__(f"{resource.replace('_', ' ')} {object_id} has version {version} by now")
        self.resource = resource
        self.object_id = object_id
        self.version = str(version)


class AddressBusyError(CloudError):
    """The elastic IP has a user."""

    def __init__(self, address_id: str, *, instance_id: str = "", lb_id: str = "") -> None:
        user = f"load balancer {lb_id}" if lb_id else f"instance {instance_id or '(none recorded)'}"
        super().__init__(f"elastic IP {address_id} is associated with {user}")
        self.address_id = address_id
        self.instance_id = instance_id
        self.lb_id = lb_id


class InUseError(CloudError):
    """Something else still needs the object."""

    def __init__(self, resource: str, object_id: str, user: str) -> None:
        super().__init__(f"{resource.replace('_', ' ')} {object_id} is in use by {user}")
        self.resource = resource
        self.object_id = object_id
