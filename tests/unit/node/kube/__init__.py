"""What the node plugin asks the Kubernetes API."""
