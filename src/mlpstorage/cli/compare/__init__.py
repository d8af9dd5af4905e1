"""`mlpstorage compare`: two runs or sets side by side."""
