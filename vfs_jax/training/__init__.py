"""Frame-similarity training."""
