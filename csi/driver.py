"""The names that Kubernetes knows this driver and its topology by."""

DRIVER_NAME = "csi.thecloud.io"
ZONE_KEY = "topology.csi.thecloud.io/zone"
"""The one key of the driver's topology."""
