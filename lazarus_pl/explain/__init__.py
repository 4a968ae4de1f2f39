"""Heat-maps, attributions, and scores that check them."""
