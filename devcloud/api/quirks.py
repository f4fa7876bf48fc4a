"""What the published platform really answers, quirk by quirk, and what a precise one answers instead.

Belongs here: the table of quirks and the one place where domain errors become HTTP answers. Quirks of behaviour (what
an operation does, not how it is answered) are carried out where the operation is, under `is_strict`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from devcloud import errors

RAW_MESSAGE = "An unexpected error occurred"
INTERNAL = "INTERNAL"
NO_PAGE = "404 page not found"


@dataclass(frozen=True, slots=True)
class Quirk:
    """One oddity of the published platform; every number has a test of that number."""

    number: int
    section: str
    text: str


QUIRKS = tuple(
    Quirk(number, section, text)
    for number, (section, text) in enumerate(
        (
            ("1.1", "an unknown path and a known path with the wrong method are 404 in plain text"),
            ("1.1", "a path that differs by a trailing slash is redirected: 301 for GET, 307 for others"),
            ("1.1", "a panic is 500 with an empty body"),
            ("1.1", "unknown fields are ignored; anything undecodable is 400 `invalid request body`"),
            ("1.2", "an empty list is null"),
            ("1.3", "errors have no details and untyped ones are 500 with a generic message"),
            ("1.4", "bodies and ids of the key routes that do not parse are 500, not 400"),
            ("1.5", "the rate limit answers 429 with a string error, and all API keys share one bucket"),
            ("1.7", "filters of volumes and snapshots are ignored"),
            ("1.8", "Idempotency-Key is ignored on volumes and snapshots"),
            ("1.10", "snapshots are seen by the user that made them, volumes and instances by the tenant"),
            ("1.13", "terminating an instance looks for the name before the id"),
            ("4.1", "private_ip carries a prefix length"),
            ("4.3", "malformed ports are 500 INVALID_PORT_FORMAT"),
            ("4.5", "resizing an instance answers success and stores nothing"),
            ("5.1", "backend_path and device_path are a constant"),
            ("5.2", "a missing volume is 500"),
            ("5.3", "a volume name that any tenant has is 500"),
            ("5.2", "deleting an attached volume is 400"),
            ("5.4", "deleting a volume deletes its snapshots"),
            ("5.5", "attaching an attached volume is 409, also for the same instance"),
            ("5.5", "attach checks the volume, its status, the form of the instance id, then the instance (500)"),
            ("5.5", "attach asks neither whose the instance is nor whether it runs"),
            ("5.5", "two attaches at once both answer 200 and the last write wins"),
            ("5.5", "detach takes no instance and detaches whoever holds the volume"),
            ("5.5", "detaching a free volume is 400"),
            ("5.5", "a wedged volume (in use without an instance) refuses attach 409, detach 400, delete 400"),
            ("6", "a snapshot is CREATING in the answer and a restart leaves it so for ever"),
            ("6", "a missing snapshot is 500, and so is a snapshot of a missing volume"),
            ("6", "the snapshot shows its tenant in the create answer only"),
            ("6", "restore gives an empty volume of the same size"),
            ("18", "without a replica health and readiness are 503"),
            ("1.4", "a body that does not fit is 400 with a string error on POST /vpcs, and 500 on PATCH"),
            ("1.8", "the key of a load balancer or VPC replays whatever is asked for, and another user's is 500"),
            ("9.3", "a missing key of a load balancer is an empty one: the second such load balancer is 500"),
            ("9.3", "a deleted load balancer is shown, and replayed, until the worker's next tick"),
            ("9.2", "load balancers are seen by the user that made them, their targets by everybody"),
            ("9.2", "a target that is there already is 500"),
            ("9.2", "an instance of another VPC, or of none, is 400 LB_CROSS_VPC"),
            ("9.4", "a load balancer whose port another one has stays CREATING"),
            ("9.1", "a load balancer has no address, and shows its tenant in the create answer only"),
            ("7.1", "a VPC's name that any tenant has is 500, and so is a range with host bits"),
            ("7.1", "a VPC with instances or deleted load balancers in it is 500 on delete"),
            ("11", "terminating an instance leaves its elastic IP associated with nobody"),
            ("1.4", "bodies and ids of the security-group routes that do not fit are 400 with a string error"),
            ("8", "the answer to making a security group lists two ARP rules that nobody stores"),
            ("8", "a security group's name that the VPC has is 500, and so is a VPC that is not there"),
            ("8", "security groups are listed by VPC only, and without their rules"),
            ("8", "a rule's empty id is 400; the rest of it only the database checks (500)"),
            ("8", "the same rule is stored as often as it is asked for"),
            ("8", "a new rule counts from the next attach, or the next rule, of its group"),
            ("8", "detaching one instance ends a group's rules for all, until the next attach"),
            ("8", "deleting a security group that is not there is 204"),
            ("8", "attaching what belongs to another tenant is 403"),
        ),
        start=1,
    )
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An error as HTTP has it."""

    status: int
    type: str
    message: str
    details: dict[str, str] = field(default_factory=dict)
    is_bare: bool = False
    """Whether the error is the text alone instead of an object."""


RAW = Answer(500, INTERNAL, RAW_MESSAGE)


def answer_of(error: errors.CloudError, *, strict: bool) -> Answer:
    """Give the answer of a domain error in a tier."""
    if strict:
        return _strict(error)
    for kind in type(error).__mro__:
        if kind in _PRECISE:
            return _PRECISE[kind](error)
    return RAW


def _strict(error: errors.CloudError) -> Answer:
    for kind in type(error).__mro__:
        if kind in _STRICT:
            return _STRICT[kind](error)
    return RAW


def _simple(status: int, kind: str) -> Callable[[errors.CloudError], Answer]:
    return lambda error: Answer(status, kind, str(error))


def _fixed(status: int, kind: str, message: str) -> Callable[[errors.CloudError], Answer]:
    return lambda _: Answer(status, kind, message)


def _strict_missing(error: errors.CloudError) -> Answer:
    """Most things are missed with a 404; volumes and snapshots, and what only a foreign key knows, with 500."""
    resource = getattr(error, "resource", "")
    if resource in {"volume", "snapshot"}:
        return RAW
    if resource == "load_balancer":
        return Answer(404, "LB_NOT_FOUND", "load balancer not found")
    if resource == "api_key":
        return Answer(404, "OBJECT_NOT_FOUND", "api key not found")
    return Answer(404, "NOT_FOUND", f"{resource.replace('_', ' ')} not found")


def _missing(error: errors.CloudError) -> Answer:
    resource, ref = getattr(error, "resource", ""), getattr(error, "ref", "")
    kind = "OBJECT_NOT_FOUND" if resource == "api_key" else "NOT_FOUND"
    return Answer(404, kind, str(error), {"resource": resource, "id": ref})


def _wrong(**fields: str) -> Callable[[errors.CloudError], Answer]:
    """Give a 400 whose details are attributes of the error."""
    return lambda error: Answer(
        400, "INVALID_INPUT", str(error), {name: getattr(error, attribute) for name, attribute in fields.items()}
    )


def _conflict(reason: str, resource: str, **fields: str) -> Callable[[errors.CloudError], Answer]:
    """Give a 409 whose details are attributes of the error; those without a value are left out."""

    def make(error: errors.CloudError) -> Answer:
        details = {"reason": reason, "resource": getattr(error, "resource", resource)}
        for name, attribute in fields.items():
            value = getattr(error, attribute)
            if value:
                details[name] = value
        return Answer(409, "CONFLICT", str(error), details)

    return make


_COMMON: dict[type, Callable[[errors.CloudError], Answer]] = {
    errors.InvalidError: _simple(400, "INVALID_INPUT"),
    errors.UnauthorizedError: _simple(401, "UNAUTHORIZED"),
    errors.DeniedError: _simple(403, "FORBIDDEN"),
    errors.ConflictError: _simple(409, "CONFLICT"),
    errors.QuotaError: _simple(429, "QUOTA_EXCEEDED"),
    errors.NotRunningError: _simple(409, "INSTANCE_NOT_RUNNING"),
    errors.PortsError: _simple(409, "TOO_MANY_PORTS"),
}

_STRICT: dict[type, Callable[[errors.CloudError], Answer]] = {
    **_COMMON,
    errors.BodyError: _fixed(400, "INVALID_INPUT", "invalid request body"),
    errors.MalformedKeyError: _fixed(500, INTERNAL, RAW_MESSAGE),
    errors.PortFormatError: _simple(500, "INVALID_PORT_FORMAT"),
    errors.MissingError: _strict_missing,
    errors.DanglingError: lambda _: RAW,
    errors.BareBodyError: lambda error: Answer(400, "", str(error), is_bare=True),
    errors.BareIdError: lambda error: Answer(400, "", str(error), is_bare=True),
    errors.TargetError: _simple(400, "LB_CROSS_VPC"),
    errors.InUseError: _simple(409, "CONFLICT"),
    errors.AddressBusyError: _simple(409, "CONFLICT"),
    errors.AttachedError: _fixed(409, "CONFLICT", "volume is already attached to an instance"),
    errors.DeleteInUseError: _fixed(400, "INVALID_INPUT", "cannot delete volume that is in use"),
    errors.NotAttachedError: _fixed(400, "INVALID_INPUT", "volume is not attached"),
}

_PRECISE: dict[type, Callable[[errors.CloudError], Answer]] = {
    **_COMMON,
    errors.BodyError: lambda error: Answer(400, "INVALID_INPUT", f"invalid request body: {error}"),
    errors.PortFormatError: _simple(400, "INVALID_INPUT"),
    errors.MissingError: _missing,
    errors.NameTakenError: _conflict("name_taken", ""),
    errors.KeyReusedError: _conflict("key_reused", ""),
    errors.AttachedError: _conflict("attached", "volume", id="volume_id", instance_id="instance_id"),
    errors.DeleteInUseError: _conflict("attached", "volume", id="volume_id", instance_id="instance_id"),
    errors.NotAttachedError: _simple(400, "INVALID_INPUT"),
    errors.NotHolderError: _conflict("not_holder", "volume", id="volume_id", instance_id="holder_id"),
    errors.DiskBusyError: _conflict("busy", "volume", serial="serial"),
    errors.InGroupError: _conflict("in_group", "snapshot", id="snapshot_id", group_id="group_id"),
    errors.ZoneError: _conflict("zone_mismatch", "volume", id="volume_id"),
    errors.TargetError: _wrong(instance_id="instance_id"),
    errors.ListenerError: _wrong(group="group", listener="listener"),
    errors.PortTakenError: _conflict("port_taken", "load_balancer", group="group", port="port"),
    errors.VersionError: _conflict("version", "load_balancer", id="object_id", version="version"),
    errors.AddressBusyError: _conflict(
        "attached", "elastic_ip", id="address_id", instance_id="instance_id", lb_id="lb_id"
    ),
    errors.InUseError: _conflict("in_use", "", id="object_id"),
    errors.GuardError: _simple(412, "PRECONDITION_FAILED"),
    errors.FullError: _simple(429, "RESOURCE_LIMIT_EXCEEDED"),
    errors.TimedOutError: _simple(504, "TIMEOUT"),
    errors.BackendError: _simple(500, INTERNAL),
}
