"""Certificates that load balancers end TLS with: typed calls and no policy (docs/platform-network.md, Certificates)."""

from collections.abc import Mapping

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_object
from thecloud.network_wire import Certificate
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header, tag_param

CERTIFICATES = "lb.certificates"

_CERTIFICATE = decoder_of(Certificate)
_CERTIFICATES = decoder_of(tuple[Certificate, ...])


class Certificates(Resource[Certificate]):
    """The certificates of the tenant.

    Every method takes `deadline` (loop time) and raises PlatformError; Unsupported where the platform holds none.
    """

    kind = "certificate"
    route = "/certificates"
    filter_feature = CERTIFICATES
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_CERTIFICATE, many=_CERTIFICATES, listing_window_s=listing_window_s)

    async def create(
        self,
        *,
        name: str,
        certificate_pem: str,
        private_key_pem: str,
        idempotency_key: str,
        deadline: float,
        tags: Mapping[str, str] | None = None,
    ) -> Certificate:
        """Hand a certificate and its key over; tried again while its outcome is unknown, since it has a key.

        Raises Conflict (`name_taken`, `key_reused`), Refused for texts that are no certificate or no matching key.
        **A text of an error may quote what was sent**: who shows it makes sure that it does not hold the private key.
        """
        self.need(await self.features(deadline), CERTIFICATES)
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if idempotency_key else Repeat.UNSENT_ONLY,
            body=body_of(name=name, certificate_pem=certificate_pem, private_key_pem=private_key_pem, tags=tags),
            headers=key_header(idempotency_key),
        )
        return read_object(_CERTIFICATE, call, await self.send(call))

    async def get(self, certificate_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Certificate | Gone:
        """Give the certificate, or say that it is gone."""
        self.need(await self.features(deadline), CERTIFICATES)
        return await self.look_up(certificate_id, deadline=deadline, lane=lane)

    async def find_by_name(self, name: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Certificate, ...]:
        """Give the certificates of exactly this name, one at most; as fresh as the question."""
        self.need(await self.features(deadline), CERTIFICATES)
        found = await self.listed((("name", name),), deadline=deadline, lane=lane)
        return tuple(one for one in found if one.name == name)

    async def list(
        self, *, deadline: float, tag: tuple[str, str] | None = None, lane: Lane = Lane.READ
    ) -> tuple[Certificate, ...]:
        """Give all, or those with a tag; as fresh as the question. It may hold more than what was asked for."""
        self.need(await self.features(deadline), CERTIFICATES)
        return await self.listed(() if tag is None else (tag_param(tag),), deadline=deadline, lane=lane)

    async def delete(self, certificate_id: str, *, deadline: float, guard_tag: tuple[str, str] | None = None) -> None:
        """Delete it; with `guard_tag` only if it carries that tag (GuardMismatch otherwise).

        Raises Missing when it is gone, Conflict (`in_use`) while a listener has it.
        """
        self.need(await self.features(deadline), CERTIFICATES)
        await self.remove(certificate_id, deadline=deadline, guard_tag=guard_tag, feature=CERTIFICATES)
