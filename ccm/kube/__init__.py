"""Kubernetes plumbing without any term of the platform: list-watch, cache, queue, leader election, events, patches."""
