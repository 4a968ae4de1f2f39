"""Leaves that are drawn, with the truth about them."""
