"""What every connection to PostgreSQL is told, whoever makes it."""

_SILENT_S = 30


def alive_arguments() -> dict[str, int]:
    """Give libpq's settings under which a server that went away without a word is noticed, even while it is asked."""
    return {
        "keepalives_idle": _SILENT_S // 3,
        "keepalives_interval": _SILENT_S // 6,
        "keepalives_count": 4,
        "tcp_user_timeout": _SILENT_S * 1000,
    }
