"""One sentence and one class for each way in which the hub fails, and whether to ask again.

The client's exceptions are told by the names of their classes, so nothing of it is imported here.
No sentence holds a token or a signed address (reliability section 2.2, A2 to A12).
"""

import errno
import re
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, HubError, InvalidValue
from precompute.fetching import NotThere
from precompute.safety import is_full, no_space

PASSING = {408, 429, 500, 502, 503, 504}
"""Answers that may be another in a moment."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCAL = "LocalEntryNotFoundError"
"""What the client wraps a failed look-up in, once it has tried again itself."""


class Unreachable(HubError):
    """There is no way to the hub at all."""


def wait_before_next(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before asking again; None where that is no use.

    Args:
        attempt: how often it was asked for by now.
    """
    if _is(error, LOCAL):
        return None
    response = getattr(error, "response", None)
    if response is not None and response.status_code in PASSING:
        return _stated(response.headers) or 2.0 ** (attempt - 1)
    if _is(error, "ConnectError", "TimeoutException", "ConnectionError") and attempt < 2:
        return 1.0
    return None


def told(
    error: BaseException, endpoint: str, repository: str, revision: str = "main",
    path: str | None = None,
) -> AtlasError:
    """The failure of a question about a repository, as one sentence with what mends it."""
    while _is(error, LOCAL) and error.__cause__ is not None:
        error = error.__cause__
    what = f"{repository}/{path}" if path else repository
    if isinstance(error, AtlasError):
        return error
    if _is(error, "GatedRepoError"):
        return HubError(
            f"{repository} is gated: accept its terms at {endpoint}/{repository}, then put a "
            "token of that account into HF_TOKEN and run this again"
        )
    if _is(error, "RevisionNotFoundError"):
        return NotThere(f"{repository} has no revision {revision}; it was renamed or never was")
    if _is(error, "RemoteEntryNotFoundError"):
        return NotThere(f"{repository} has no file {path} at {revision}")
    if _is(error, "RepositoryNotFoundError"):
        return NotThere(
            f"the hub has no repository {repository}, or it is private: then put a token that may "
            "read it into HF_TOKEN"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return HubError(_status_text(status, what, endpoint))
    if _is(error, "FileMetadataError", "ValueError", "KeyError", "TypeError", "AttributeError"):
        return HubError(no_hub(endpoint, f"its answer about {what} is none of a hub's"))
    if _is(error, "RemoteProtocolError", "ReadError", "WriteError"):
        return HubError(
            f"the connection broke off while {what} was fetched; run this again, what was "
            "finished is kept"
        )
    if "Consistency check failed" in str(error):
        return HubError(
            f"{what} came with the wrong size; run this again, and if it stays so tell the owner "
            "of the repository"
        )
    if _is(error, "ConnectError", "TimeoutException", "ConnectionError"):
        return Unreachable(
            f"the hub at {endpoint} does not answer ({type(error).__name__}); check the network, "
            "or name a local mirror with --from DIR"
        )
    return HubError(
        f"{what} could not be fetched ({type(error).__name__}: {clean(str(error))}); run this again"
    )


def is_disk_trouble(error: BaseException) -> bool:
    """Whether it is this machine's disk that failed."""
    return isinstance(error, OSError) and (
        is_full(error)
        or error.errno in {*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
    )


def disk_trouble(error: BaseException, folder: Path) -> AtlasError:
    """NoSpace for a full disk, InvalidValue for a folder that may not be written."""
    if isinstance(error, OSError) and (error.errno in FULL or is_full(error)):
        return no_space(folder)
    why = getattr(error, "strerror", None) or type(error).__name__
    return InvalidValue(f"{folder} cannot be written ({why}); set HF_HOME to a folder that can")


def forbidden_text(verb: str) -> str:
    """The line about a verb that needs the network, where the environment forbids it."""
    return f"the network is forbidden (HF_HUB_OFFLINE); unset it to {verb}"


def missing_text(names: list[str], where: Path | str) -> str:
    """The line about everything that is needed and is not here."""
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return (
        f"without a network {len(names)} of the needed files are not on this machine ({where}): "
        f"{shown}; run this with a network, or name a local mirror with --from DIR"
    )


def clean(text: str) -> str:
    """A message of the client's without tokens, signatures of addresses and line ends."""
    text = re.sub(r"hf_[A-Za-z0-9]{6,}", "hf_***", text)
    return " ".join(re.sub(r"\?\S+", "", text).split())[:300]


def _is(error: BaseException, *names: str) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _stated(headers: Any) -> float | None:
    """Seconds that a refused request is to wait, as the answer says: one more for rounding."""
    limit = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    after = re.fullmatch(r"\s*(\d+)\s*", headers.get("retry-after", ""))
    said = limit or after
    return float(said[1]) + 1 if said else None


def no_hub(endpoint: str, why: str) -> str:
    """The line about something that answers but is no hub."""
    return (
        f"{endpoint} is not a Hugging Face hub: {why}; HF_ENDPOINT is set wrongly, or a network "
        "login page or proxy stands between"
    )


def _status_text(status: int, what: str, endpoint: str) -> str:
    if status == 401:
        return f"the hub does not know the token in HF_TOKEN (401 for {what}); renew or unset it"
    if status == 403:
        return f"the hub refuses {what} (403): the token in HF_TOKEN lacks the right to it"
    if status == 429:
        return f"the hub at {endpoint} limits requests (429 for {what}); run this again later"
    if status == 416:
        return f"the hub cannot go on with {what} (416, range); run this again"
    if status >= 500:
        return f"the hub at {endpoint} failed with {status} for {what}; run this again later"
    return f"the hub at {endpoint} answered {status} for {what}"
