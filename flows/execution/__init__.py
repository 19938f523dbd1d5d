"""How a stage and the DAG are executed: context, executors, artifacts, the DAG that DVC knows."""
