"""The first labels of a video, propagated along it: settings, features, labels, readout."""
