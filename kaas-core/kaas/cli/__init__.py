"""The command `cloud`: the words that users type, over the HTTP API."""
