"""What the herd computes, one folder per section of the paper. Nothing here imports prefect, mlflow or dvc."""
