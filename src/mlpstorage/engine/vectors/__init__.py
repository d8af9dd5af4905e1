"""The data plane of vector search: vectors and their files, exact neighbours, recall."""
