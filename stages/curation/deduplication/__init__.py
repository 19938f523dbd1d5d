"""URL, near-duplicate and line de-duplication (3.1.1)."""
