"""Measurements: `make bench`, or `python -m benchmarks NAME` for one of them.

Every benchmark is one module with a function `measure`, and runs in a process of
its own. Figures are ratios to a peer measured in the same run, or costs per unit:
only those mean something on another machine.
"""
