"""Model-based quality, bucket and topic classifiers (3.1.1, 3.1.2)."""
