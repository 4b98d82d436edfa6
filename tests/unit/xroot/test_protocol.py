"""Every number is the protocol's: compared with XRootD's header where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xroot import protocol
from xroot.protocol import (
    AttributeAction,
    Code,
    DirListFlag,
    LocateFlag,
    OpenFlag,
    PrepareFlag,
    QueryType,
    Request,
    ServerFlag,
    StatFlag,
    Status,
)

if TYPE_CHECKING:
    from enum import IntEnum

HEADER = Path("/usr/include/xrootd/XProtocol/XProtocol.hh")

#: Not yet in the header of XRootD 5.5.
NEWER = {Request.CLONE, QueryType.FILE_INFO, QueryType.FS_INFO, Code.TIMER_EXPIRED}
#: Ours, and the protocol's own name for it.
NAMES = {
    "AUTHMORE": "authmore",
    "STATS": "QStats",
    "PREPARE": "QPrep",
    "CHECKSUM": "Qcksum",
    "XATTR": "Qxattr",
    "SPACE": "Qspace",
    "CHECKSUM_CANCEL": "Qckscan",
    "CONFIG": "Qconfig",
    "VISA": "Qvisa",
    "OPAQUE": "Qopaque",
    "OPAQUE_FILE": "Qopaquf",
    "OPAQUE_GROUP": "Qopaqug",
}
CODES = {
    Code.FS_ERROR: "FSError",
    Code.IO_ERROR: "IOError",
    Code.NO_SERVER: "noserver",
    Code.IS_DIRECTORY: "isDirectory",
    Code.ITEM_EXISTS: "ItExists",
    Code.CHECKSUM_ERROR: "ChkSumErr",
    Code.IN_PROGRESS: "inProgress",
    Code.OVER_QUOTA: "overQuota",
    Code.SIGNATURE_ERROR: "SigVerErr",
    Code.DECRYPT_ERROR: "DecryptErr",
    Code.READ_ONLY: "fsReadOnly",
    Code.NO_REPLICAS: "noReplicas",
    Code.TOO_MANY_ERRORS: "TooManyErrs",
    Code.TIMED_OUT: "ReqTimedOut",
}
OTHERS = {
    "isServer": ServerFlag.IS_SERVER,
    "isManager": ServerFlag.IS_MANAGER,
    "supposc": ServerFlag.SUPPORTS_POSC,
    "suppgrw": ServerFlag.SUPPORTS_PAGES,
    "DataServer": protocol.DATA_SERVER,
    "LBalServer": protocol.LOAD_BALANCER,
    "asyncap": protocol.ASYNC_ABLE,
    "asynresp": protocol.ASYNC_RESPONSE,
    "compress": OpenFlag.COMPRESS,
    "delete": OpenFlag.DELETE,
    "force": OpenFlag.FORCE,
    "new": OpenFlag.NEW,
    "open_read": OpenFlag.READ,
    "open_updt": OpenFlag.UPDATE,
    "async": OpenFlag.ASYNC,
    "refresh": OpenFlag.REFRESH,
    "mkpath": OpenFlag.MKPATH,
    "open_apnd": OpenFlag.APPEND,
    "retstat": OpenFlag.RETSTAT,
    "replica": OpenFlag.REPLICA,
    "posc": OpenFlag.POSC,
    "nowait": OpenFlag.NOWAIT,
    "seqio": OpenFlag.SEQUENTIAL,
    "open_wrto": OpenFlag.WRITE_ONLY,
    "xset": StatFlag.EXECUTABLE,
    "isDir": StatFlag.DIRECTORY,
    "other": StatFlag.OTHER,
    "offline": StatFlag.OFFLINE,
    "readable": StatFlag.READABLE,
    "writable": StatFlag.WRITABLE,
    "poscpend": StatFlag.POSC_PENDING,
    "bkpexist": StatFlag.BACKUP_EXISTS,
    "vfs": protocol.STAT_VFS,
    "mkdirpath": protocol.MKDIR_PARENTS,
    "online": DirListFlag.ONLINE,
    "dstat": DirListFlag.STAT,
    "dcksm": DirListFlag.CHECKSUM,
    "prefname": LocateFlag.PREFER_NAME,
    "4dirlist": LocateFlag.FOR_DIRLIST,
    "cancel": PrepareFlag.CANCEL,
    "notify": PrepareFlag.NOTIFY,
    "noerrs": PrepareFlag.NO_ERRORS,
    "stage": PrepareFlag.STAGE,
    "wmode": PrepareFlag.WRITE_MODE,
    "coloc": PrepareFlag.COLOCATE,
    "fresh": PrepareFlag.FRESH,
    "usetcp": PrepareFlag.USE_TCP,
    "evict": PrepareFlag.EVICT,
    "fattrDel": AttributeAction.DELETE,
    "fattrGet": AttributeAction.GET,
    "fattrList": AttributeAction.LIST,
    "fattrSet": AttributeAction.SET,
    "faMaxVars": protocol.MAX_ATTRIBUTES,
    "faMaxNlen": protocol.MAX_ATTRIBUTE_NAME_BYTES,
    "faMaxVlen": protocol.MAX_ATTRIBUTE_VALUE_BYTES,
    "pgPageSZ": protocol.PAGE_BYTES,
    "pgMaxEpr": protocol.MAX_BAD_PAGES,
    "pgRetry": protocol.PAGES_AGAIN,
    "ckpXeq": protocol.CHECKPOINT_WRITE,
    "PROTPGRWVERSION": protocol.PROTOCOL_VERSION,
}


@pytest.fixture(scope="module")
def numbers() -> dict[str, int]:
    """Every kXR_ name in the header, without that beginning."""
    if not HEADER.exists():
        pytest.skip("XRootD's headers are not installed here")
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    found: dict[str, int] = {}
    for body in re.findall(r"enum \w+\s*\{(.*?)\}", text, flags=re.DOTALL):
        value = -1
        for name, _, given in (part.strip().partition("=") for part in body.split(",")):
            value = int(given.strip(), 0) if given else value + 1
            found.setdefault(name.strip().removeprefix("kXR_"), value)
    constants = r"(?:#define|const (?:int|kXR_char) +) *kXR_(\w+) *=? *(0x[0-9a-f]+|\d+)"
    found |= {name: int(value, 0) for name, value in re.findall(constants, text)}
    return found


@pytest.mark.parametrize("request_", [each for each in Request if each not in NEWER])
def test_requests_have_the_header_s_numbers(numbers: dict[str, int], request_: Request) -> None:
    assert numbers[request_.name.lower()] == request_


@pytest.mark.parametrize(
    "member",
    [*Status, *[each for each in QueryType if each not in NEWER]],
    ids=lambda member: member.name,
)
def test_statuses_and_questions_have_the_header_s_numbers(
    numbers: dict[str, int], member: IntEnum
) -> None:
    names = NAMES if isinstance(member, QueryType) else {}
    assert numbers[names.get(member.name, member.name.lower())] == member


@pytest.mark.parametrize("code", [each for each in Code if each not in NEWER])
def test_errors_have_the_header_s_numbers(numbers: dict[str, int], code: Code) -> None:
    camel = "".join(word.capitalize() for word in code.name.split("_"))
    name = CODES.get(code, camel.replace("Tls", "TLS"))
    assert numbers[name] == code


@pytest.mark.parametrize("name", OTHERS)
def test_flags_and_limits_have_the_header_s_numbers(numbers: dict[str, int], name: str) -> None:
    assert numbers[name] == OTHERS[name]


def test_limits_hold_what_clients_may_send() -> None:
    attributes = protocol.MAX_ATTRIBUTES * (
        protocol.MAX_ATTRIBUTE_NAME_BYTES + protocol.MAX_ATTRIBUTE_VALUE_BYTES + 8
    )
    assert protocol.MAX_PAYLOAD_BYTES[Request.FATTR] > attributes + 8192
    assert protocol.MAX_PAYLOAD_BYTES[Request.READV] == 16384
    # Two names and a blank, each with as much behind it as it is long.
    assert protocol.USUAL_PAYLOAD_BYTES > 2 * 2 * 4096 + 1
