"""Programs of the repository's own: the demonstration, generators. Never part of the distribution."""
