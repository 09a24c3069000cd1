"""Video Frame-level Similarity in JAX: training, correspondence operators and evaluation."""
