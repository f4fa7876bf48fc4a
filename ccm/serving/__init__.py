"""Health, metrics and settings over HTTPS, for whom Kubernetes lets read them.

Start reading at `ccm.serving.server`.
"""
