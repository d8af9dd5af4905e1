"""LanceDB: columnar files with an IVF_PQ index, read in this process through the page cache."""
