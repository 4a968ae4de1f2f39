"""The verbs that join the rooms."""
