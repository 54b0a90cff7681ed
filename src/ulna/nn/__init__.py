"""Floor 4: layers that know no data set."""
