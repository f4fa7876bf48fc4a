"""Pure functions: objects of Kubernetes in, the wanted state of the platform or of an object out."""
