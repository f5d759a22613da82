"""The wire between host and agents: protobuf messages and gRPC stubs, by protocol version."""
