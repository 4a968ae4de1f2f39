"""Classifiers on cached features: pure modules."""
