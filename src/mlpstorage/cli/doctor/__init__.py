"""`mlpstorage doctor`: what a benchmark checks before it starts, alone."""
