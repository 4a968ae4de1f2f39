"""A checkpoint as one graph that needs nothing of this package."""
