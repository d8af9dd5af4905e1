"""The data plane inside a rank: buffers, readers, generators, file formats, ranks' agreement."""
