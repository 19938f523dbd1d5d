"""The page's charts and derived tables, one module per chapter. Importing the package registers every chart."""

from stages.report.figures import data, paper, posttraining, pretraining, safety, scaling

__all__ = ["data", "paper", "posttraining", "pretraining", "safety", "scaling"]
