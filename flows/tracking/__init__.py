"""What can be watched: the event log, and MLflow and Prefect, which read it or mirror it."""
