"""Property tests are not timed: the first example pays for imports, and the machine is shared."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
