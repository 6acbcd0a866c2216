"""What is true and what may happen: states, commands, events, and the pure functions between them.

Nothing in this room reads a clock, draws a random number, opens a file or talks to a network; time, ids
and randomness are arguments. That is what lets the same code serve live commands, replay, dry runs, time
travel and the simulator. It imports the standard library and msgspec, nothing else.
"""
