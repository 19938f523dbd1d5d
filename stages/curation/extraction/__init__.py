"""HTML to text (3.1.1), and the labelled pages that measure it."""
