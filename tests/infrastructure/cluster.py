"""The paper's cluster."""

from stages.infrastructure.reliability import Reliability

CLUSTER = Reliability(
    gpus=16_384,
    days=54,
    parameters=405e9,
    bytes_per_parameter=12,
    storage_bytes_per_second=2e12,
    checkpoint_minutes=10,
    detect_minutes=3,
    restart_minutes=5,
    spare_nodes=64,
    repair_hours=24,
    runs=100,
)
