"""Annotations of services: the table of all, how they are read, and their reference page.

Start reading at `ccm.annotations.table`.
"""
