"""Photos in zips."""
