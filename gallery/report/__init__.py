"""What is known of a head, as one page."""
