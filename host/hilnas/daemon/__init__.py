"""The service that holds store, farm, executor and searches together."""
