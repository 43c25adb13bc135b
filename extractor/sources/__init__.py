"""Where photos are, and their annotations."""
