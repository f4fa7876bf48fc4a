"""The only HTTP client of the platform: wire models, typed errors, deadlines, retries, rate budget, discovery.

Belongs here: how a call to the platform is made and what its answer means. Does not belong here: Kubernetes, gRPC, and
every decision about what to do with an answer; those are the callers'. Start reading at `thecloud.client`.
"""
