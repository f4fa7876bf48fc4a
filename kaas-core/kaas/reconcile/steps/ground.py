"""What stands before the first machine: the look ahead, secrets, security group, key pair, credential."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kaas.crypto.pki import new_pki
from kaas.crypto.sshkeys import new_ssh_key_pair, public_key_of
from kaas.domain import names
from kaas.domain.errors import Code, StepError
from kaas.domain.firewall import rules_of
from kaas.domain.ports import Condition, CredentialFacts, CredentialWish, KeyPairWish, Kind, SecurityGroupWish
from kaas.domain.sealing import CREDENTIAL, PKI, SSH_KEY
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import put_secret, secret
from kaas.reconcile.steps.base import BaseStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight(BaseStep):
    """Nothing is known that would stop the cluster; said at once, not after an hour."""

    async def verify(self, work: Work) -> Result:
        """Ask the platform. Raises StepError (INVALID) with all that is wrong."""
        problems = await work.tools.driver.preflight(work.snapshot.cluster.spec, deadline=work.deadline)
        if problems:
            told = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
            raise StepError(Code.INVALID, f"the platform cannot carry this cluster: {told}")
        return NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets(BaseStep):
    """The cluster's authorities and its SSH key are made, sealed and stored; made once, whatever happens."""

    async def check(self, work: Work) -> Result | None:
        """Look whether both are stored."""
        kinds = [await work.tools.store.secret(work.lease, kind) for kind in (PKI, SSH_KEY)]
        return NOTHING if all(kinds) else None

    async def apply(self, work: Work) -> None:
        """Make what is missing."""
        cluster = work.snapshot.cluster
        if await work.tools.store.secret(work.lease, PKI) is None:
            await put_secret(work, PKI, (await new_pki(cluster.id)).to_bytes())
        if await work.tools.store.secret(work.lease, SSH_KEY) is None:
            pair = await new_ssh_key_pair(names.key_pair(cluster.name, cluster.id))
            await put_secret(work, SSH_KEY, pair.private_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup(BaseStep):
    """The cluster's security group is there."""

    async def check(self, work: Work) -> Result | None:
        """Find it."""
        found = await outside.look(work, Kind.SECURITY_GROUP, _group_wish(work).name)
        if found is None:
            return None
        await outside.adopt(work, found, step=self.key)
        return {"id": found.id}

    async def apply(self, work: Work) -> None:
        """Make it."""
        await outside.make(work, _group_wish(work), Kind.SECURITY_GROUP, step=self.key)

    async def verify(self, work: Work) -> Result:
        """Give its id."""
        return await _found(self, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupRules(BaseStep):
    """The security group has its rules, with the machines that there are now as its own; inputs name them."""

    async def apply(self, work: Work) -> None:
        """Let the platform compare and change what differs."""
        wish = _group_wish(work)
        found = await outside.look(work, Kind.SECURITY_GROUP, wish.name)
        if found is None:
            raise StepError(Code.PLATFORM_UNAVAILABLE, f"security group {wish.name} is not to be seen on the platform")
        await work.tools.driver.update(found, wish, deadline=work.deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair(BaseStep):
    """The platform has the public half of the cluster's SSH key."""

    async def check(self, work: Work) -> Result | None:
        """Find it."""
        cluster = work.snapshot.cluster
        found = await outside.look(work, Kind.KEY_PAIR, names.key_pair(cluster.name, cluster.id))
        if found is None:
            return None
        await outside.adopt(work, found, step=self.key)
        return {"id": found.id}

    async def apply(self, work: Work) -> None:
        """Make it."""
        name = names.key_pair(work.snapshot.cluster.name, work.snapshot.cluster.id)
        await outside.make(work, KeyPairWish(name, await public_key(work)), Kind.KEY_PAIR, step=self.key)

    async def verify(self, work: Work) -> Result:
        """Give its id."""
        return await _found(self, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(BaseStep):
    """The cluster has access to the platform of its own, and we have its secret, which is told only once."""

    async def check(self, work: Work) -> Result | None:
        """Find it, and see that the stored secret is this one's."""
        found = await outside.look(work, Kind.CREDENTIAL, self._name(work))
        if found is None or found.id != (await credential_of(work)).get("id"):
            return None
        await outside.adopt(work, found, step=self.key)
        return {"id": found.id}

    async def apply(self, work: Work) -> None:
        """Make one, and store its secret; one whose secret was lost is of no use and goes."""
        name = self._name(work)
        await outside.delete_all(work, Kind.CREDENTIAL, name=name)
        made = await outside.make(work, CredentialWish(name), Kind.CREDENTIAL, step=self.key)
        facts = made.facts
        if made.condition is Condition.FAILED or not isinstance(facts, CredentialFacts) or not facts.secret:
            raise StepError(Code.PLATFORM_REFUSED, f"credential {name}: the platform made one without a secret")
        await put_secret(work, CREDENTIAL, json.dumps({"id": made.id, "secret": facts.secret}).encode())

    async def verify(self, work: Work) -> Result:
        """Give its id."""
        return await _found(self, work)

    def _name(self, work: Work) -> str:
        return names.credential(work.snapshot.cluster.name, work.snapshot.cluster.id)


async def credential_of(work: Work) -> Mapping[str, str]:
    """Give `id` and `secret` of the cluster's access to the platform; empty when there is none yet."""
    content = await secret(work, CREDENTIAL)
    return {} if content is None else json.loads(content)


async def public_key(work: Work) -> str:
    """Give the public half of the cluster's SSH key."""
    private_key = await secret(work, SSH_KEY)
    if private_key is None:
        raise StepError(Code.BUG, "the cluster's SSH key is not stored, though the step that makes it is done")
    cluster = work.snapshot.cluster
    return public_key_of(private_key, names.key_pair(cluster.name, cluster.id))


def _group_wish(work: Work) -> SecurityGroupWish:
    cluster = work.snapshot.cluster
    return SecurityGroupWish(names.security_group(cluster.name), cluster.spec.vpc_id, rules_of(cluster.spec.access))


async def _found(step: BaseStep, work: Work) -> Result:
    """Look again after it was made: what is not seen now would be made twice later."""
    result = await step.check(work)
    if result is None:
        raise StepError(Code.PLATFORM_UNAVAILABLE, f"{step.key}: it was made, and the platform does not show it yet")
    return result
