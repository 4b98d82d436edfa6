"""The head node's pure logic: events and the time go in, instructions come out.

`head.Head` is the door to it. `events` and `instructions` are the two
vocabularies, `states`, `model` and `figures` the words both share with the shell. Nothing
in here does I/O, reads a clock or draws a random number that was not handed in.
"""
