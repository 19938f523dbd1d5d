"""The three phases of pretraining (3.4): initial, long context, annealing."""
