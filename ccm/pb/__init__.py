"""Stubs generated from proto/ by scripts/generate_proto.py; nothing here is written by hand."""
