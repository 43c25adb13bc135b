"""The index on disk, for more photos than can be compared each."""
