"""Byte-level BPE (3.2), the chat format (4.1), and token shards."""
