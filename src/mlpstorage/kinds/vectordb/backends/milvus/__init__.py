"""Milvus: a server elsewhere, with graphs on disk and in memory, by its gRPC interface."""
