"""The checkpointing benchmark: how fast does storage take and give back a model's state?"""
