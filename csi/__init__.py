"""The protocol shell that both CSI programs run in.

Belongs here: sockets, the identity service, the interceptor, error kinds and their status codes, locks, kubelet
registration, health and metrics endpoints, generated stubs, and the words that controller and node exchange through
Kubernetes. Does not belong here: storage, HTTP clients, mounts.
"""
