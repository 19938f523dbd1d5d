"""The one training loop (3.3, 3.4), and what it is made of. SFT, DPO and the reward model use it too."""
