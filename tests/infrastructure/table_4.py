"""Table 4's models, layouts and devices (3.3.2)."""

from stages.infrastructure import paper
from stages.infrastructure.layout_search import ClusterSpec, Workload
from stages.infrastructure.memory_model import MemoryOptions

FLAGSHIP = paper.model_config("405B")
H100 = ClusterSpec(16_384, 8, 80e9, peak_flops=989e12, efficiency=0.55, node_bandwidth=450e9, network_bandwidth=50e9)
FUSED = MemoryOptions("bf16", "fused")
TABLE_4 = [
    (paper.layout_of_row(row, "selective"), Workload(row["length"], row["dp"] * row["sequences"]), row)
    for row in paper.TABLE_4
]
