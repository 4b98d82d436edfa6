"""A whole site in one thread: the real cores, and a simulated world around them.

Clock, network, disks, archive and crashes are made from one seed, so that a failure can
be replayed. Only the shells are left out: each simulated process here does what its
shell does, carrying out the core's instructions after delays, and loses at a crash what
a process loses.
"""
