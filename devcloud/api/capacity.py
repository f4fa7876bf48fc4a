"""Discovery routes of the extended tier: capabilities, classes, capacity, zones."""

from devcloud import volumes
from devcloud.api import answers
from devcloud.api.call import Call, Reply
from devcloud.errors import MissingError
from devcloud.settings import GIB, MAX_SIZE_GB, MIN_SIZE_GB, PERFORMANCE_CLASSES

FEATURES = (
    "errors.precise",
    "volume.idempotency-key",
    "volume.tags",
    "volume.filter",
    "volume.serial",
    "volume.allocated",
    "volume.resize",
    "volume.clone",
    "volume.attach-wait",
    "volume.read-only",
    "volume.modify",
    "volume.capacity",
    "volume.health",
    "snapshot.restore",
    "snapshot.group",
    "instance.zone",
    "instance.hostname",
    "instance.max-volumes",
    "instance.filter",
    "instance.power",
    "events.stream",
    "lb.listeners",
    "lb.targets-put",
    "lb.address",
    "lb.health-check",
    "lb.transparent",
    "lb.tags",
    "lb.certificates",
    "address.tags",
    "security-group.details",
    "instance.region",
    "instance.public-address",
    "list.etag",
)
_TRANSPARENT = "lb.transparent"


async def get_capabilities(call: Call, _: None) -> Reply:
    """GET /capabilities."""
    has_transparent = call.cloud.path.can_be_transparent
    features = [feature for feature in FEATURES if feature != _TRANSPARENT or has_transparent]
    return Reply(answers.Capabilities(call.cloud.settings.tier.value, features))


async def list_classes(call: Call, _: None) -> Reply:
    """GET /performance-classes."""
    del call
    return Reply(
        [answers.PerformanceClassView(item.name, item.description, item.max_size_gb) for item in PERFORMANCE_CLASSES]
    )


async def get_capacity(call: Call, _: None) -> Reply:
    """GET /capacity."""
    zone = call.query.get("zone", "")
    name = call.query.get("performance_class", "")
    if zone and zone not in call.cloud.settings.zones:
        raise MissingError("zone", zone)
    largest = {item.name: item.max_size_gb for item in PERFORMANCE_CLASSES}
    if name and name not in largest:
        raise MissingError("performance_class", name)
    available = await volumes.available_bytes(call.cloud)
    limit_gb = min(largest.get(name, MAX_SIZE_GB), available // GIB)
    return Reply(answers.Capacity(available, MIN_SIZE_GB, limit_gb))


async def list_zones(call: Call, _: None) -> Reply:
    """GET /zones."""
    settings = call.cloud.settings
    return Reply([answers.ZoneView(zone, settings.region) for zone in settings.zones])
