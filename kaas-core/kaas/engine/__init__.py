"""Waking conductors: in this process, or through a queue in PostgreSQL. Wake-ups only, never truth."""
