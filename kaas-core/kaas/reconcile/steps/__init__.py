"""The concrete steps, one module a family. Belongs here: how one thing becomes so. Does not: which steps there are."""
