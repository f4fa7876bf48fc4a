"""Where what is built once is kept, outside of the tree."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give this project's folder in the user's cache: THECLOUD_CACHE, or one in the place for caches."""
    own = os.environ.get("THECLOUD_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "thecloud-kubernetes"
