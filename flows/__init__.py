"""When and where the stages run. Prefect, MLflow and DVC are known here and nowhere else."""
