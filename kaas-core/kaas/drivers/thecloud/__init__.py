"""The Cloud's own API as infrastructure, in both of its tiers (docs/platform-api.md).

Belongs here: which calls make, find, change and delete what a cluster needs, and by what mark it is told from what is
not the cluster's. Does not belong here: HTTP (the client is `thecloud`), and when something is made or deleted.
"""
