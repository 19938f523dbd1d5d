"""Safety (5.4): tuning, and the tests that hold it."""
