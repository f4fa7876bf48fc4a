"""What every program of ours has, whatever it does: settings, help, log lines, the orderly end, the table of metrics.

Belongs here: what a second program would otherwise copy. Does not belong here: protocols (gRPC, HTTP, Kubernetes), the
platform, and what a single program can be told. It imports nothing else of ours.
"""
