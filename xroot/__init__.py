"""The root:// wire format, sans-io: bytes in, typed messages out, and back.

protocol     the protocol itself: how it flows, codes, flags, limits; read this first
requests     what clients say: typed messages, and their bytes
responses    what servers say: bytes, and how a client takes them apart
decoder      bytes as they arrive, cut into messages
session      what a server accepts when: handshake, login, then requests
texts        the lines in replies: stat, locate, directory listings, checksums
pages        pages with their checksums, for pgread and pgwrite
errors       whose fault it was
"""
