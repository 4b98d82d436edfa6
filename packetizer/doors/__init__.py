"""The packetizer's gRPC door: sessions for clients, packets for workers."""
