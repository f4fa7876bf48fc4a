"""Finding the one error that says what happened among those that tasks of a group ended with."""

from kaas.domain.errors import KaasError, LeaseLostError, StoreUnavailableError


def telling(error: BaseException) -> BaseException:
    """Give the error that decides: a lost lease before all others, and a mistake of ours before what can be told."""
    leaves = _leaves(error)
    for kind in (LeaseLostError, StoreUnavailableError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return next((leaf for leaf in leaves if not isinstance(leaf, KaasError)), leaves[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]
