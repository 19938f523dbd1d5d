"""What the heuristic filters measure: repetition, dirty words, token-distribution outliers (3.1.1)."""
