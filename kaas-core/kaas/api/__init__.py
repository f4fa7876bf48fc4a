"""The HTTP API: routers translate between requests and the domain."""
