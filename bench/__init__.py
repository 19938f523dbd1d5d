"""Side-by-side measurements against peers: what is fast, by how much, and what the limit is. `make bench` runs all."""
