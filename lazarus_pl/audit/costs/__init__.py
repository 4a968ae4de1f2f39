"""What each later step will cost, from short measured probes."""
