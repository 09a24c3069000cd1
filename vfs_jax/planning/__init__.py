"""What a run will need on accelerators that are not there: compiled for them, or counted from the traced program."""
