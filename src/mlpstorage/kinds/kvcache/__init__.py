"""KV-cache offload of LLM inference: cache decisions compiled before the clock, then executed."""
