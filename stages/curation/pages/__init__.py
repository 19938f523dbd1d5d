"""Where pages come from: pinned packages, WARC files, and their addresses (3.1.1)."""
