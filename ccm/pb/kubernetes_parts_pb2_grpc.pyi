from collections.abc import AsyncIterator

import grpc
import grpc.aio

from ccm.pb import kubernetes_parts_pb2
