"""The paper's cluster (3.3): memory, step time, storage, reliability, and the planner that uses them."""
