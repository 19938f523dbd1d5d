"""Raw web pages to clean, deduplicated, classified documents (paper 3.1)."""
