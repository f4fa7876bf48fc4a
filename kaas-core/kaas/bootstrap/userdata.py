"""First-boot commands: start sshd, tell its host key to us, or tell why not.

A platform shows these commands to everybody who may read instances. So they hold an address, a certificate, public
keys, and a token that is good for one report of one node and for a short time; everything else goes by SSH, to the
host key that was reported. Later phases are not reported by the machine: whoever runs them by SSH sees how they end.

The machine needs what a minimal Debian has: sh, coreutils, sed, base64, curl, OpenSSH's server.
"""

import base64
import re
import shlex
from dataclasses import dataclass, field

from kaas.bootstrap.tokens import BOOT_TOKEN
from kaas.domain.errors import Code, KaasError

REPORT_PATH = "/boot/v1/report"
BOOTED, FAILED = "booted", "failed"
PHASES = frozenset({BOOTED, FAILED})
"""What a machine reports: that it is there, or that it cannot be logged in to."""
MAX_BYTES = 16 * 1024
"""Of all commands together; the smallest limit among platforms."""
_URL = re.compile(r"https://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
_PEM = re.compile(r"(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]+\n)+-----END CERTIFICATE-----\n?)+")
_PUBLIC_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-[a-z0-9]+) [A-Za-z0-9+/=]+( [ -~]*)?")
_PAUSES_S = (1, 1, 2, 4, 8, 15, *(30,) * 14)
"""Between tries to report; with what the tries themselves take, about ten minutes."""
_LOG_LINES = 200
_LOG_BYTES = 12 * 1024


@dataclass(frozen=True, slots=True)
class Places:
    """Where a machine has its SSH."""

    host_key: str = "/etc/ssh/ssh_host_ed25519_key"
    user_folder: str = "/root/.ssh"
    log_file: str = "/var/log/cloud-init-output.log"
    """Reported besides the journal's end, where there is such a file."""


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """What one machine needs to report."""

    url: str
    """Of our phone-home listener, as machines reach it: https, without the path."""
    ca_pem: str
    """What the listener's certificate is checked with."""
    token: str = field(repr=False)
    authorized_key: str = ""
    """Public key that may log in; empty where the platform puts it there itself."""
    places: Places = field(default_factory=Places)


def first_boot_commands(boot: FirstBoot) -> tuple[str, ...]:
    """Give the commands of a machine's first boot. Raises KaasError (INVALID) when they would not be safe, or too long.

    It is one command of a few plain words, which is the same text to a shell, to cloud-init and to YAML.
    """
    encoded = base64.b64encode(report_script(boot).encode()).decode()
    command = f"printf %s {shlex.quote(encoded)} | base64 -d | sh"
    if len(command) > MAX_BYTES:
        raise KaasError(
            Code.INVALID,
            f"the first-boot commands have {len(command)} bytes, {MAX_BYTES} are allowed; "
            "shorten the chain of certificates of the phone-home listener",
        )
    return (command,)


def report_script(boot: FirstBoot) -> str:
    """Give the script itself. What it is told is quoted, and checked before. Raises KaasError (INVALID)."""
    _check(boot)
    places = boot.places
    settings = {
        "url": boot.url.rstrip("/") + REPORT_PATH,
        "token": boot.token,
        "ca": boot.ca_pem.strip(),
        "host_key": places.host_key,
        "user_folder": places.user_folder,
        "authorized_key": boot.authorized_key.strip(),
        "log_file": places.log_file,
        "pauses": " ".join(str(pause) for pause in _PAUSES_S),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()) + _SCRIPT


def _check(boot: FirstBoot) -> None:
    wrong = ""
    if not _URL.fullmatch(boot.url):
        wrong = f"the address of the phone-home listener must be https:// and a host, not {boot.url!r}"
    elif not _PEM.fullmatch(boot.ca_pem.strip() + "\n"):
        wrong = "the authority of the phone-home listener must be a certificate (PEM) and nothing else"
    elif not BOOT_TOKEN.fullmatch(boot.token):
        wrong = "the boot token is not one of ours"
    elif boot.authorized_key and not _PUBLIC_KEY.fullmatch(boot.authorized_key.strip()):
        wrong = "the SSH key for a machine must be one line with a public key"
    if wrong:
        raise KaasError(Code.INVALID, wrong)


# Reported as JSON without a tool for it, so the log is cut down to what needs no escapes but two. The token reaches
# curl on its standard input, which no other process sees. The folder with the rest goes with the script.
_SCRIPT = rf"""
set -u
umask 077
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
printf '%s\n' "$ca" > "$folder/ca.pem"

log_tail() {{
    {{
        if [ -r "$log_file" ]; then tail -n {_LOG_LINES} "$log_file"; fi
        journalctl --boot --quiet --no-pager --lines={_LOG_LINES} 2>/dev/null
        if [ -r "$folder/trouble" ]; then cat "$folder/trouble"; fi
    }} | tail -c {_LOG_BYTES} | tr '\011' ' ' | tr -cd '\012\040-\176' |
        sed -e 's/[\\"]/\\&/g' -e 's/$/\\n/' | tr -d '\012'
}}

report() {{
    key=$(cut -d ' ' -f 1,2 "$host_key.pub" 2>/dev/null | tr -cd 'A-Za-z0-9+/= -')
    printf '{{"phase":"%s","ssh_host_key":"%s","log_tail":"%s"}}' "$1" "$key" "$(log_tail)" > "$folder/report"
    for pause in $pauses; do
        status=$(printf 'header = "Authorization: Bearer %s"\n' "$token" |
            curl -q --config - --silent --proto =https --cacert "$folder/ca.pem" --connect-timeout 5 --max-time 20 \
                --header 'Content-Type: application/json' --data-binary "@$folder/report" \
                --output /dev/null --write-out '%{{http_code}}' "$url")
        case $status in
            2??) return 0 ;;
            400 | 401 | 413) return 1 ;;
        esac
        sleep "$pause"
    done
    return 1
}}

make_host_key() {{
    [ -s "$host_key.pub" ] || ssh-keygen -q -t ed25519 -N '' -f "$host_key" < /dev/null
}}

allow_login() {{
    [ -n "$authorized_key" ] || return 0
    mkdir -p "$user_folder" && printf '%s\n' "$authorized_key" >> "$user_folder/authorized_keys"
}}

start_sshd() {{
    for unit in ssh.service sshd.service; do
        systemctl start "$unit" && return 0
    done
    return 1
}}

main() {{
    if {{ make_host_key && allow_login && start_sshd; }} > "$folder/trouble" 2>&1; then
        report {BOOTED} || return 1
        # For reboots; it takes longer than all the rest, so nobody waits for it.
        systemctl enable "$unit" > /dev/null 2>&1
    else
        report {FAILED}
    fi
}}

# Last, when the shell has read all of this: what runs in there finds nothing more on standard input.
main
"""
