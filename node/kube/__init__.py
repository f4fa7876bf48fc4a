"""What the node plugin asks the Kubernetes API: its own Node, its CSINode, and the VolumeAttachments of its node.

`api` is the way there, from the standard library: an HTTP client package would cost this process a quarter of its
memory. The other modules know one kind of object each. Not here: what is made of the objects.
"""
