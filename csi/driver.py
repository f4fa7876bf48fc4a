"""The name that Kubernetes knows this driver by."""

DRIVER_NAME = "csi.thecloud.io"
