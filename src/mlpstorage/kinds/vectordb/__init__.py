"""Vector search: how many queries per second does storage sustain, at a recall that counts?"""
