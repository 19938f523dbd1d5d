"""Side-by-side measurements against peers: what is fast, by how much, and what the limit is. `make bench` runs all."""

import os
from pathlib import Path

PEERS = Path(os.environ.get("HERD_PEERS", ".herd/peers")).absolute()
"""Where `make peers` puts what only benchmarks need."""
