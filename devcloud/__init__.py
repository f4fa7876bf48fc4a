"""The embedded platform: The Cloud's HTTP API with real disks, small enough to start in a test.

Belongs here: the API in its two tiers, its state, its disks and machines, its faults. Does not: anything that knows a
client of the platform (drivers, Kubernetes).
"""
