"""What this machine can do: facts are gathered, checks judge them, a table tells."""
