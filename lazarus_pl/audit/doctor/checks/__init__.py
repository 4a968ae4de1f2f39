"""Judgements: pure functions from the facts of a machine to results of checks."""
