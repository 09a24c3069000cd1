"""Reports: pages, plots and overlay videos of predictions."""
