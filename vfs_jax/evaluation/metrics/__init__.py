"""Measures of the tasks: predictions and ground truth as arrays in, scores out; one file a family."""
