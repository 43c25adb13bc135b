"""Photos in tars, plain and packed."""
