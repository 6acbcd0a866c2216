"""What readers see: in-memory views folded from durable facts, one JSON fragment a row.

A view never reads the model that decisions are staged on, because that may be ahead of the disk; it keeps the states it
was handed after durability. A fragment is encoded on the first read after a change and joined into lists from then on.
"""
