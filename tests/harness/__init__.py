"""What the end-to-end tests stand on: throw-away clusters, raw clients, waits. Holds no test."""
