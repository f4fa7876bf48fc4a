"""kaas-core: whole Kubernetes clusters on the platform's instances, from one request to their last trace."""
