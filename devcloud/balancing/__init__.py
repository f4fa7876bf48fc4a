"""What makes load balancers carry traffic: plans from rows, configurations of proxies, their processes, their health.

Belongs here: everything behind a load balancer's row. Does not: what a caller may want (`devcloud/balancers.py`).
"""
