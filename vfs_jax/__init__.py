"""Video Frame-level Similarity in JAX: training, correspondence operators and evaluation."""

__version__ = "0.1.0"
