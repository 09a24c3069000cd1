"""Propagate the first labels of a video along it: settings, padding, features, labels, readout."""
