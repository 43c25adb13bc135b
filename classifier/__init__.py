"""From the cache to a head, and a head's predictions."""
