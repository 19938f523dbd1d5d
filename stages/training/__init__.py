"""The training loop (3.3, 3.4) and its parts, used by pretraining and by post-training."""
