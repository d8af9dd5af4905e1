"""`mlpstorage history`: list, show and rerun what the results tree records."""
