"""What people look at: pictures made from results."""
