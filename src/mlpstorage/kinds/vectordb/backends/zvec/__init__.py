"""zvec: a DiskANN graph in this process, read with O_DIRECT."""
