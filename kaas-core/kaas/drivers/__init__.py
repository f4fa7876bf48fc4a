"""Infrastructure that clusters run on, one package for each."""
