"""What can go wrong while a cluster's parts are made; each text is for the person who started it."""


class AssetError(Exception):
    """A part of the cluster could not be made; the text says which, what was seen and what to do."""


class MissingToolError(AssetError):
    """A program of this host is not there; the text names its package."""


class ClusterError(Exception):
    """The cluster could not be made, reached or taken down; the text says what was seen and where to look."""
