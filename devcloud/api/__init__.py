"""The HTTP side of devcloud: routes, shapes of bodies, authentication, the envelope, the quirks of the strict tier.

Belongs here: translation between HTTP and the domain modules one level up. Does not: rules about volumes, snapshots
or instances themselves.
"""
