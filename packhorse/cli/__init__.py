"""The command line: one small module for each group of commands.

Modules here import nothing heavy at the top, so that `packhorse --help` is
there at once; what a command needs is imported when it runs.
"""
