"""Where photos are, and what their names say of them."""
