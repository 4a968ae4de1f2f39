"""Judgements: pure functions from the facts of a machine to findings."""
