"""The API of a cluster that was made: applying manifests, reading nodes, addons."""
