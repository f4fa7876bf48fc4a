"""A platform with machines and clusters that exist in one SQLite file only; for tests, benches and trying things out.

Belongs here: what the outside world does, as honestly as its callers can see it. It knows nothing of steps and plans.
"""
