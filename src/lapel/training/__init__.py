"""Training: a recipe on its catalogue, from batches over losses and stages to a run."""

from lapel.training.loop import train

__all__ = ["train"]
