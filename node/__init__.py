"""The CSI node plugin: disks, file systems and mounts of one host.

Here belongs what happens on a node: finding a disk by the identity that its kernel reports, formatting only what is
proved blank, checking, growing, mounting, and the servicer on top. Not here: the platform's API (the node holds no key
and no HTTP client), and the gRPC shell, which is `csi`.
"""
