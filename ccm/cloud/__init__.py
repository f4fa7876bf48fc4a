"""Adapters of `ccm.ports` on the platform's client; the only package of `ccm` that imports `thecloud`.

Start reading at `ccm.cloud.platform`.
"""
