"""Many videos into folders, resumed where a run was interrupted."""
