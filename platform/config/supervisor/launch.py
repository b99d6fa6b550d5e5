"""Becomes another program: `launch.py OPTIONS -- COMMAND...`, OPTIONS being JSON of `config.supervisor.spec.Launch`.

It runs before anything of Parley is imported, in a process of its own, so that the supervisor's threads and locks have
no part in it. The new process gets `death_signal` when the supervisor dies, however it dies (prctl(2),
PR_SET_PDEATHSIG), and gives up root where it is told to, keeping at most one capability.
"""

import ctypes
import json
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
"""Else access(2), with which PostgreSQL checks its programs, looks away from the capability kept."""
CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: list[str]) -> None:
    """Set the process up and become the command. Ends with status 127 when that can't be done."""
    options = json.loads(arguments[0])
    command = arguments[2:]
    if options["uid"] is not None:
        _give_up_root(options["uid"], options["gid"], options["capability"])
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, options["death_signal"])
        if os.getppid() != options["parent"]:
            sys.exit(127)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error.strerror}")


def _give_up_root(uid: int, gid: int, capability: int | None) -> None:
    if capability is not None:
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability is not None:
        _keep_only(capability)
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _keep_only(capability: int) -> None:
    bit = 1 << capability
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (_CapabilitySet * 2)(_CapabilitySet(bit, bit, bit), _CapabilitySet(0, 0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(header), ctypes.byref(sets)) != 0:
        _fail("capset")


def _prctl(option: int, first: int, second: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if libc.prctl(option, first, second, 0, 0) != 0:
        _fail("prctl")


def _fail(call: str) -> None:
    sys.exit(f"{call}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
