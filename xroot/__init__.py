"""The root:// wire format, sans-io: bytes in, typed messages out, and back."""
