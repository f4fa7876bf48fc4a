"""What is wrong with manifests that an addon is made from."""

from kaas.domain.errors import Code, StepError


class ManifestError(StepError):
    """Manifests that cannot be used; says which file and why. A matter of settings or packaging, so never retried."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.BUG, message)
