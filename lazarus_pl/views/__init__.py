"""Augmented views of photos, each the same on every machine and at every call."""
