"""The page to look at: one's own store in one's own browser."""
