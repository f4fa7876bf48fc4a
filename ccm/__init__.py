"""The cloud controller manager of The Cloud: nodes and load balancers of a cluster, as the platform has them.

Start reading at `app.py`; `ports.py` says what it needs from the platform, `controllers/` what it does.
"""
