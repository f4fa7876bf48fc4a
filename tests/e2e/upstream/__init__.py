"""The storage suite that Kubernetes itself ships (External.Storage of e2e.test), against our driver."""
