"""The API server's answers about users, and what it was asked."""

from ccm.serving.access import ReviewError, User

READER = User("reader", "u-1", ("system:authenticated",))
STRANGER = User("stranger")


class FakeReviews:
    def __init__(self) -> None:
        self.users = {"good": READER, "weak": STRANGER}
        self.rights = {"reader": {("get", "/metrics"), ("get", "/configz"), ("get", "/nothing"), ("post", "/metrics")}}
        self.authorities = ""
        self.is_away = False
        self.asked: list[tuple[str, ...]] = []

    async def user_of(self, token: str, *, deadline: float) -> User | None:
        self._ask("token", token)
        return self.users.get(token)

    async def may(self, user: User, verb: str, path: str, *, deadline: float) -> bool:
        self._ask("may", user.name, verb, path)
        return (verb, path) in self.rights.get(user.name, set())

    async def client_authorities(self, *, deadline: float) -> str:
        self._ask("authorities")
        return self.authorities

    def _ask(self, *question: str) -> None:
        self.asked.append(question)
        if self.is_away:
            raise ReviewError("POST /apis: no answer in time")
