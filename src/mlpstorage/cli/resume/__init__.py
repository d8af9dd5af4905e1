"""`mlpstorage resume`: go on with what was interrupted."""
