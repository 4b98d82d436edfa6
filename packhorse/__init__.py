"""What people hold: the Python API, the command line, the worker."""
