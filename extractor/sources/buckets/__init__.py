"""Photos in buckets."""
