"""The data server's pure core: events and the time in, instructions out.

Nothing here does I/O, reads a clock or knows a wire format, so a whole cluster of
nodes can be simulated in one thread. `node.Node` is the door; the shell around it
(`dataserver.recalls`, `.purger`, `.link`, `.doors`) carries its instructions out.
"""
