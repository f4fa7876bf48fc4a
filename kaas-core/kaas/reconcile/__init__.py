"""From what is to what is wanted, step by step: conductor, ledger, and one module for each kind of work."""
