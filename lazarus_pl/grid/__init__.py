"""Many runs from one config file, and their leaderboard."""
