"""What an error of a filesystem means: a code, whether another attempt may help, and a reason with a fix for readers.

Arrow sets `errno` for local storage and for a few answers of object stores. The rest is text, such as

    When listing objects under key 'x/' in bucket 'b': AWS Error SLOW_DOWN during ListObjectsV2 operation: reduce ...
    When getting information for key 'x' in bucket 'b': AWS Error UNKNOWN (HTTP status 503) during HeadObject ...
    google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of backend error_info={...})
    GetProperties for 'c/x' failed. Azure Error: [ServerBusy] 503 The server is busy.
"""

from __future__ import annotations

import errno
import re

from vgim.secrets import mask_secrets
from vgim.text import first_line

_AWS = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during \w+ operation(?:: (.*))?")
_GOOGLE = re.compile(r"google::cloud::Status\((\w+)(?:: (.*?))?(?: error_info=|\)?$)")
_AZURE = re.compile(r"Azure Error: \[(\w*)\] (\d*) ?(.*)")
_REFUSED = re.compile(r"\b(ExpiredToken|InvalidToken|TokenRefreshRequired)\b")
_RETRIED_BY_GOOGLE = "with a last message of "
_NO_TOKEN = "Could not create a OAuth2 access token"
_UNDERLYING = "The underlying error message was: "
_LONGEST_WORDS = 200

TRANSIENT_ERRNO = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
# Names of AWS, Google Cloud and Azure, in capitals without underscores.
_TRANSIENT_CODES = frozenset(
    {
        "NETWORKCONNECTION",
        "SLOWDOWN",
        "THROTTLING",
        "INTERNALFAILURE",
        "INTERNALERROR",
        "SERVICEUNAVAILABLE",
        "REQUESTTIMEOUT",
        "UNAVAILABLE",
        "DEADLINEEXCEEDED",
        "RESOURCEEXHAUSTED",
        "INTERNAL",
        "ABORTED",
        "SERVERBUSY",
        "OPERATIONTIMEDOUT",
        "NOSUCHUPLOAD",  # a repeated end of a large put whose first answer was lost; the put starts anew
    }
)
_DENIED_CODES = frozenset(
    {
        "ACCESSDENIED",
        "INVALIDACCESSKEYID",
        "INVALIDCLIENTTOKENID",
        "INVALIDSIGNATURE",
        "MISSINGAUTHENTICATIONTOKEN",
        "OPTINREQUIRED",
        "SIGNATUREDOESNOTMATCH",
        "UNRECOGNIZEDCLIENT",
        "REQUESTEXPIRED",
        "PERMISSIONDENIED",
        "UNAUTHENTICATED",
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILURE",
        "AUTHORIZATIONPERMISSIONMISMATCH",
        "INSUFFICIENTACCOUNTPERMISSIONS",
        "NOAUTHENTICATIONINFORMATION",
    }
)
_NO_BUCKET_CODES = frozenset({"NOSUCHBUCKET", "CONTAINERNOTFOUND", "FILESYSTEMNOTFOUND"})
_NO_FILE_CODES = frozenset({"NOSUCHKEY", "RESOURCENOTFOUND", "NOTFOUND", "BLOBNOTFOUND", "PATHNOTFOUND"})
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})

_CREDENTIALS = "check that the credentials (environment, profile or role) are valid and may use the bucket"
WRITE_ELSEWHERE = "choose a folder that you may write to"
_BY_ERRNO = {
    errno.EACCES: ("permission denied", WRITE_ELSEWHERE),
    errno.EPERM: ("permission denied", WRITE_ELSEWHERE),
    errno.ENOSPC: ("no space left on the device", "free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path"),
    errno.EEXIST: ("a file stands where a folder is needed", "remove it or choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "check the path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.EIO: ("the device reports an input/output error", "check the disk or the mount"),
    errno.ESTALE: ("the network file system lost the file", "check the mount"),
    errno.ETIMEDOUT: ("it does not answer", "check the address and the network"),
}


class _Answer:
    """The code, HTTP status and words of an object store, read from the text of Arrow's error."""

    def __init__(self, error: BaseException) -> None:
        text = " ".join(str(error).split())
        self.code, self.status, self.words = "", 0, ""
        if match := _AWS.search(text):
            self.code, self.status, self.words = match[1], int(match[2] or 0), match[3] or ""
        elif match := _GOOGLE.search(text):
            self.code, self.words = match[1], (match[2] or "").rpartition(_RETRIED_BY_GOOGLE)[2]
        elif match := _AZURE.search(text):
            self.code, self.status, self.words = match[1], int(match[2] or 0), match[3]
        self.code = self.code.replace("_", "").upper()
        if _REFUSED.search(self.words):
            self.code = "UNAUTHENTICATED"


def _errno_of(error: BaseException) -> int | None:
    if str(error).endswith("is a directory"):
        return errno.EISDIR  # Arrow sets none
    code = getattr(error, "errno", None)
    return code if isinstance(code, int) else None


def is_of_arrow(error: BaseException, name: str = "ArrowException") -> bool:
    """Whether an error is a pyarrow.NAME. It is told by its class, so that Arrow is not imported to look."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == "pyarrow"
        for kind in type(error).__mro__
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same operation on remote storage may succeed later: no connection, a timeout, an overload.

    An OSError that says nothing more is transient. Errors of Arrow itself, such as an unknown URI, are not.
    """
    if is_of_arrow(error) or not isinstance(error, OSError):
        return False
    if (code := _errno_of(error)) is not None:
        return code in TRANSIENT_ERRNO
    answer = _Answer(error)
    if answer.code in _TRANSIENT_CODES or answer.status in _TRANSIENT_STATUS:
        return True
    return answer.code in ("", "UNKNOWN") and not 400 <= answer.status < 500


def reason_and_fix(error: BaseException, *, is_remote: bool) -> tuple[str, str]:
    """Why an operation failed, and what the user can do, without secrets."""
    code, answer = _errno_of(error), _Answer(error)
    words = _shortened(mask_secrets(answer.words or first_line(error)))
    if _NO_TOKEN in str(error):
        return f"no credentials for Google Cloud were found ({words})", _CREDENTIALS
    if answer.code in _NO_BUCKET_CODES or (
        answer.code == "NOTFOUND" and "bucket does not exist" in answer.words
    ):
        return "there is no such bucket", "check the address"
    if answer.code in _DENIED_CODES or answer.status in (401, 403):
        return f"access denied ({words})", _CREDENTIALS
    if answer.code in _NO_FILE_CODES:
        return _BY_ERRNO[errno.ENOENT]
    if is_remote and code in (errno.EACCES, errno.EPERM):
        return "access denied", _CREDENTIALS
    if not answer.code and code in _BY_ERRNO:
        return _BY_ERRNO[code]
    if is_transient(error) and is_remote:
        return f"the storage does not answer as it should ({words})", "check the address and the network"
    return words, "check the address, the credentials and the network"


def _shortened(words: str) -> str:
    """The part of a message that says what happened: Google's client puts a paragraph of advice before it."""
    words = words.rpartition(_UNDERLYING)[2]
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}..."
