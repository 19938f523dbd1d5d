"""What the herd can do (5.1)."""
