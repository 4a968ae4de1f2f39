"""Where the leaf is in a photo, and what can be done once that is known."""
