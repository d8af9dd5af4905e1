"""`mlpstorage engine`: the engines beside the native one."""
