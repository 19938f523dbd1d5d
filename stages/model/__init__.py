"""The Llama of the paper (3.2): the model, its files, and generation."""
