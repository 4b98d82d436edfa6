"""How long a whole dataset takes, in a simulated cluster, under the real packetizer and others.

world       hosts, files, and what goes wrong: one scenario with its numbers drawn
scenarios   the scenarios, drawn from a seed
network     disks and network interfaces that streams share fairly, as a fluid
running     workers that ask, open, read and compute, under any scheduler
bound       no scheduler can be faster than this
ours        the packetizer's real core as a scheduler
chunks      schedulers of the literature: how much they hand out
places      from which file and server they hand it out
proof       PROOF's two packetizers, from the description of their code
policies    all of them by name
"""
