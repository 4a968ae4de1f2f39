"""Which photos are train, val and test."""
