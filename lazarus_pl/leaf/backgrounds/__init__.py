"""What a leaf can be laid on."""
