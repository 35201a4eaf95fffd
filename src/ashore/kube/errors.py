# SPDX-License-Identifier: Apache-2.0
"""What can come back from an API server instead of an answer."""

import msgspec

NOT_AN_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for text that isn't JSON of the wanted shape."""
LONGEST_RETRY_AFTER_S = 300
"""No server's word keeps us from asking again for longer than this."""


class ApiError(Exception):
    """A request failed. ``target`` names what was asked for; ``message`` is the server's own text."""

    def __init__(self, target: str, message: str, *, status: int = 0, retry_after_s: float = 0) -> None:
        super().__init__(f"{target}: {message}")
        self.target = target
        self.message = message
        self.status = status
        """The HTTP status; 0 when no answer came."""
        self.retry_after_s = retry_after_s
        """How long the server asked us to wait; 0 when it didn't."""


class NotFound(ApiError):  # noqa: N818 (an answer, not a fault)
    """404."""


class Conflict(ApiError):  # noqa: N818
    """409: the object isn't the one that the precondition means. Read it again, decide again."""


class AlreadyExists(Conflict):
    """409 for a create."""


class Denied(ApiError):  # noqa: N818
    """401 or 403: the credentials are bad, or RBAC or an admission policy says no."""


class Invalid(ApiError):  # noqa: N818
    """400 or 422: the server can't accept this request, ever."""


class Gone(ApiError):  # noqa: N818
    """410: the resourceVersion is older than what the server keeps; list again."""


class Throttled(ApiError):  # noqa: N818
    """429, still after waiting as told."""


class ServerError(ApiError):
    """5xx, or an answer that no API server gives."""


class Unreachable(ApiError):  # noqa: N818
    """No answer came; whether a write took effect is unknown unless no server could be connected to."""


class Undecodable(ApiError):  # noqa: N818
    """The server's object doesn't have the shape that its kind promises."""


class Fault(msgspec.Struct, frozen=True):
    """The part of a ``meta/v1 Status`` that tells errors apart."""

    code: int = 0
    message: str = ""
    reason: str = ""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Throttled,
}


def classify(target: str, fault: Fault, *, retry_after_s: float = 0) -> ApiError:
    """The error that a Status stands for."""
    error_type = _BY_STATUS.get(fault.code, ServerError)
    # An admission policy without `reason: Forbidden` answers 422 with a text that names it; that is a denial too.
    if error_type is Invalid and "ValidatingAdmissionPolicy" in fault.message:
        error_type = Denied
    if error_type is Conflict and fault.reason == "AlreadyExists":
        error_type = AlreadyExists
    if fault.reason == "Expired":
        error_type = Gone
    text = fault.message or fault.reason or "no message"
    return error_type(target, f"{text} (HTTP {fault.code})", status=fault.code, retry_after_s=retry_after_s)
