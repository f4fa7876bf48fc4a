"""One module for each revision, `v` and its number first."""
