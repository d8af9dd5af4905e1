"""DiskANN in Rust: a static graph, read with O_DIRECT in this process, which counts its reads."""
