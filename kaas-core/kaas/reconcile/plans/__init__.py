"""Which steps bring a cluster to what is wanted. Pure: a snapshot in, a plan out; asked anew at every step boundary.

A plan of one operation names the same steps from its beginning to its end, so that it may not follow from what its own
steps change. What is part of an operation is therefore seen in its ledger too.
"""
