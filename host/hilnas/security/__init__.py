"""Who may come in: the lab's certificate authority, roles, join tokens, and credentials for gRPC."""
