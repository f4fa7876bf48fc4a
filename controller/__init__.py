"""The controller plugin of the CSI driver: volumes, attachments, snapshots, groups, capacity.

Belongs here: the rules for objects of the platform and their translation from and to CSI. Does not belong here: HTTP
(`thecloud`), the life of a gRPC server (`csi`), anything about disks of a host (`node`).
"""
