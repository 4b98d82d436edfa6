"""Packhorse's gRPC contract: the .proto files and the stubs generated from them."""
