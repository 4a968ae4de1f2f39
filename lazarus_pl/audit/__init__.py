"""What is wrong with the data, what each step will cost, what this machine can do."""
