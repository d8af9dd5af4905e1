"""Streams checkpoint files through a few fixed buffers: stamped, written, read and verified.

stamps    what makes every sector its own, and shows that it is the one that was written
lanes     blocks of files, handed to threads of which a fixed number are in I/O at a time
writing   one rank's files of one checkpoint, durable before they have their names
reading   the same files read back into buffers that are used again and again
record    what a folder of checkpoints says of itself
"""
