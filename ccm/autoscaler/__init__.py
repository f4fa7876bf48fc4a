"""Node groups for the Cluster Autoscaler: its gRPC provider, with instances of the platform behind it.

Start reading at `app.py`. `groups.py` answers questions and records what is wanted, `reconcile.py` makes it so.
"""
