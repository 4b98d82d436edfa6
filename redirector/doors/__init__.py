"""The redirector's gRPC doors: messages in, the runner's and the stores' answers out."""
