"""Micro-jobs that write features, and readers that map them."""
