"""Files of the results tree: written whole or not at all, read with errors that name the place."""

from __future__ import annotations

import errno
import json
import numbers
import os
import secrets
from datetime import datetime, timezone
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.core.run import RunId, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpstorage.core.errors import MlpstorageError

SCHEMA_VERSION = 1
_FOREIGN = 0  # what a file without our `schema_version` counts as
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


class ErrorRecord(msgspec.Struct, frozen=True):
    """Why a run failed, as the user was told."""

    what: str
    why: str = ""
    fix: str = ""


class CommandOutput(msgspec.Struct, frozen=True):
    """A started command and the files that hold its output."""

    command: str = ""
    stdout: str = ""
    stderr: str = ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """One run, complete enough to rebuild and judge it; the fields are the keys of the file.

    The first seventeen keys are those that other tools of the field read; the rest are ours.
    `runtime` is in seconds; `run_datetime` is the local time stamp of the directory; `start_time`
    and `end_time` are UTC. `status` is None when another tool wrote the file.

    A run of a set has `set_id`, the part it plays (`set_role`: "warm-up", "measured", "write" or
    "read") and `set_place` of `set_size`, from 1; `seed` is what its order was drawn from.
    `code_identity` is the hash of the package that made it (see `store.code`).
    """

    benchmark_type: str = ""
    model: str | None = None
    command: str = ""
    run_datetime: str = ""
    num_processes: int | None = None
    accelerator: str | None = None
    result_dir: str = ""
    parameters: dict[str, Any] = {}
    override_parameters: dict[str, Any] = {}
    system_info: dict[str, Any] | None = None
    cluster_snapshots: dict[str, Any] | None = None
    timeseries_data: dict[str, Any] | None = None
    runtime: float | None = None
    verification: dict[str, Any] | str | None = None
    executed_command: str = ""
    command_output_files: tuple[CommandOutput, ...] = ()
    args: dict[str, Any] = {}
    schema_version: int = SCHEMA_VERSION
    run_id: str = ""
    status: Status | None = None
    exit_code: int | None = None
    error: ErrorRecord | None = None
    mlpstorage_version: str = ""
    engine: str = ""
    edition: str = ""
    division: str = ""
    sources: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    start_time: str = ""
    end_time: str = ""
    launcher_pid: int | None = None
    launcher_host: str = ""
    launcher_boot_id: str = ""
    launcher_start_ticks: int | None = None
    set_id: str = ""
    set_role: str = ""
    set_place: int | None = None
    set_size: int | None = None
    seed: int | None = None
    working_directory: str = ""
    code_identity: str = ""

    @property
    def category(self) -> str | None:
        """CLOSED, OPEN or INVALID where `verification` says so, as a word or under `category`.

        >>> Metadata(verification="closed").category
        'CLOSED'
        """
        found = self.verification
        word = found.get("category") if isinstance(found, dict) else found
        return word.upper() if isinstance(word, str) and word else None


def utc_text(when: datetime) -> str:
    """A moment as every file here writes it; a naive one is local time.

    >>> utc_text(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc))
    '2026-01-02T03:04:05.678901Z'
    """
    text = when.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def utc_moment(text: str) -> datetime:
    """The aware moment that `utc_text` wrote; a text without a zone is local time.

    Raises:
        ValueError: the text is not an ISO date and time.
    """
    iso = text[:-1] + "+00:00" if text.endswith("Z") else text
    try:
        return datetime.fromisoformat(iso).astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"no such moment: {text}") from error


def refusal(what: str, error: OSError) -> MlpstorageError:
    """The error to raise when the operating system refused `what`."""
    text = f"{what} ({(error.strerror or str(error)).lower()})"
    if error.errno in _DENIED:
        return AccessError(
            text, fix="make it accessible to this user, or choose another --results-dir"
        )
    if error.errno in _FULL:
        return ConfigurationError(
            text, fix="free space or quota there, or choose another --results-dir"
        )
    if error.errno == errno.ENOENT:
        return NotFoundError(text, fix="check the path; mlpstorage history list shows the runs")
    return ConfigurationError(text, fix="check the file system, or choose another --results-dir")


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text in one step, so that a reader or a crash never meets half of it.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be written.
    """
    _write_atomically(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON-ready value
    """Replace a file by this value as JSON in one step: keys in the given order, 2-space indent.

    NaN and infinities become null, which every JSON reader understands.

    Raises:
        TypeError: a value is not JSON-ready.
        AccessError, NotFoundError, ConfigurationError: the file cannot be written.
    """
    _write_atomically(path, msgspec.json.format(encode(value), indent=2) + b"\n")


def encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON-ready value
    r"""The value as JSON on one line.

    >>> encode({"b": float("nan"), "a": "caf\udce9"})
    b'{"b":null,"a":"caf\\\\udce9"}'
    """
    try:
        return msgspec.json.encode(value, enc_hook=_builtin)
    except UnicodeEncodeError:  # file names that are not UTF-8 reach us as lone surrogates
        plain = msgspec.to_builtins(value, enc_hook=_builtin)
        return msgspec.json.encode(_readable(plain))


def _builtin(value: Any) -> Any:  # noqa: ANN401 - msgspec's hook
    """JSON-ready forms of paths and of numpy's scalars, without importing numpy."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _readable(value: Any) -> Any:  # noqa: ANN401 - any JSON-ready value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item) for item in value]
    return value


def _write_atomically(path: Path, content: bytes) -> None:
    # In the same directory, or the rename would cross file systems; hidden, so that nobody reads
    # what a killed writer left behind. mkstemp would hide the result from the group (mode 0600).
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        _sync_directory(path.parent)
    except OSError as error:
        raise refusal(f"cannot write {path}", error) from error


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power failure, where the file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot; the rename itself is done
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:  # noqa: ANN401 - the caller converts it to a type
    """The value in a JSON file; NaN and infinities, which other writers leave there, are None.

    Raises:
        AccessError, NotFoundError, ConfigurationError: it cannot be read or is not JSON; the
            message names the file and the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusal(f"cannot read {path}", error) from error
    try:
        return decode(content)
    except json.JSONDecodeError as error:
        raise _broken(f"{path}:{error.lineno}", f"{error.msg} (column {error.colno})") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(f"{path}:{line}", "bytes that are not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise _broken(str(path), str(error)) from error


def decode(content: bytes) -> Any:  # noqa: ANN401 - the caller converts it to a type
    """The value of JSON bytes, with None for NaN and infinities.

    Raises:
        ValueError: not JSON (as json.JSONDecodeError), not UTF-8, or a number of absurd length.
        RecursionError: nested beyond reason.
    """
    return json.loads(content.decode("utf-8-sig"), parse_constant=lambda _: None)


def _broken(place: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{place}: not a readable JSON file: {problem}",
        why="the run it describes cannot be shown, judged or repeated without it",
        fix="restore the file from a copy, or move its run directory out of the results directory",
    )


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata file of a run in one step.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be written.
    """
    write_json(path, metadata)


def read_metadata(path: Path) -> Metadata:
    """The metadata of a run, whichever tool and version wrote it.

    Raises:
        AccessError, NotFoundError, ConfigurationError: it cannot be read, is broken, or is newer
            than this program.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise _broken(str(path), "it holds no JSON object")
    # Null stands for "not known"; the field's default says the same with the right type.
    known = {key: value for key, value in _migrated(record, path).items() if value is not None}
    try:
        return msgspec.convert(known, Metadata, strict=False)
    except msgspec.ValidationError as error:
        raise _broken(str(path), str(error)) from error


def _migrated(record: dict[str, Any], path: Path) -> dict[str, Any]:
    version = record.get("schema_version", _FOREIGN)
    if not isinstance(version, int) or version < _FOREIGN:
        raise _broken(str(path), f"schema_version is {version!r}, not a number")
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: written by a newer mlpstorage (schema {version}, known {SCHEMA_VERSION})",
            fix="pip install --upgrade mlpstorage",
        )
    while version < SCHEMA_VERSION:
        record = MIGRATIONS[version](record)
        version += 1
    return record


def _from_other_tool(record: dict[str, Any]) -> dict[str, Any]:
    """The record of another tool, whose later versions wrote how and when the run ended."""
    ours = {key: record[key] for key in _SHARED if key in record}
    named = (ours.get(key) for key in ("benchmark_type", "command", "model", "run_datetime"))
    ours["run_id"] = str(RunId(*(str(part or "") for part in named)))
    ours["start_time"] = record.get("invocation_start_time")
    ours["end_time"] = record.get("invocation_end_time")
    code = record.get("exit_status")
    if isinstance(code, int):
        ours["exit_code"] = code
        ours["status"] = (Status.FAILED if code else Status.COMPLETE).value
    return ours


# The keys of which other tools mean the same as we do.
_SHARED = Metadata.__struct_fields__[: Metadata.__struct_fields__.index("schema_version")]
# From each schema version to the next; files without a version come from other tools.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {_FOREIGN: _from_other_tool}
