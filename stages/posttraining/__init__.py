"""Post-training (4): prompts, preferences, reward model, rejection sampling, SFT and DPO, in rounds."""
