"""Training over many ranks (3.3.2): tensor, context, pipeline and data parallelism, sharded checkpoints."""
