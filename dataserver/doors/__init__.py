"""The data server's doors for clients."""
