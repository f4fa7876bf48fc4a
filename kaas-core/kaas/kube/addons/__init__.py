"""What is installed into every cluster, as lists of objects; pure but for reading files at a program's start.

An addon is applied as a whole under its label (`marks`), so that what it no longer has can be taken away.
"""
