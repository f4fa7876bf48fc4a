"""One module for each controller: key, read, desired, difference, apply, status."""
