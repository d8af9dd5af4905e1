"""Running DLIO, the reference engine, inside our own ranks: nothing of it is changed on disk.

standins ──► what DLIO imports and does not need: dftracer, TensorFlow
prepare  ──► makes a tree of DLIO importable and mends it, in the rank and in its workers
workers  ──► the processes that load data for a rank: started alike, counted, never orphans
watch    ──► follows DLIO's own statistics: progress, the times of blocks
halt     ──► ends its loops in order, when the user wants it to stop
session  ──► one call of DLIO in a rank
parquet  ──► a format that DLIO lacks; `records`, the index of another one
tree     ──► which DLIO that is, and what it can do; `trial`, whether it does it
"""
