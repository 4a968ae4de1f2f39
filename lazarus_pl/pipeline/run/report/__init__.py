"""What came of a run, as a page for people and as JSON for programs."""
