"""From results to a submission: chosen sets, the systems, the code that measured, checksums.

    <out>/<division>/<organisation>/results/<system>/<benchmark>/…
    <out>/<division>/<organisation>/systems/<system>.yaml
    <out>/code-images/code-<hash>/
    <out>/SHA256SUMS

The tree is made beside its place and renamed at the end, so that half of one is never taken for it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage import __version__
from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.core.rules import Category
from mlpstorage.kinds.reporting import reporter_of
from mlpstorage.kinds.run_details import hosts_of
from mlpstorage.kinds.sets import counts, grouped, member_of, set_view
from mlpstorage.kinds.tree_system import draft
from mlpstorage.report.files import as_json
from mlpstorage.report.model import ReportDocument, Role
from mlpstorage.store.checksums import write_checksums
from mlpstorage.store.code import IMAGES, POINTER, code_identity, image_name, write_image
from mlpstorage.store.codec import refusal, utc_text, write_json, write_text
from mlpstorage.store.files import children, is_directory, is_file, read_text
from mlpstorage.store.layout import METADATA_SUFFIX, STAMP
from mlpstorage.store.runs import OURS, read_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpstorage.kinds.reporting import Member
    from mlpstorage.kinds.run_details import HostRecord
    from mlpstorage.report.model import RunSet
    from mlpstorage.store.runs import StoredRun

_BEFORE = timedelta(seconds=1)


@dataclass(frozen=True)
class Chosen:
    """A set to submit: its members, how it was judged, and the run that generated its data."""

    view: RunSet
    members: tuple[Member, ...]
    generation: StoredRun | None

    @property
    def first(self) -> StoredRun:
        """The first measured run."""
        return next(member.run for member in self.members if counts(member))


@dataclass(frozen=True)
class Submission:
    """What is to be packaged, and for whom."""

    division: str
    organisation: str
    system: str
    chosen: tuple[Chosen, ...]
    passed_over: tuple[tuple[str, str], ...]
    system_file: Path | None = None

    @property
    def place(self) -> Path:
        """The submitter's directory, relative to the root."""
        return Path(self.division.lower()) / self.organisation


def plan_submission(
    results: Path,
    *,
    division: str,
    organisation: str,
    system: str,
    sets: Sequence[str] = (),
    system_file: Path | None = None,
) -> Submission:
    """Choose the sets to submit: those named, else all that the division takes.

    Raises:
        NotFoundError: there is no such set, or none that may be submitted.
        UsageError: a set that was named may not be submitted.
    """
    members = [member_of(run) for run in read_runs(results).runs if run.origin == OURS]
    groups = grouped([member for member in members if member.role is not Role.OTHER])
    views = [(set_view(group), group) for group in groups]
    unknown = set(sets) - {view.id for view, _ in views}
    if unknown:
        raise NotFoundError(
            f"there is no set {min(unknown)!r} in {results}",
            fix="mlpstorage reports reportgen --json names the sets",
        )
    chosen, passed = [], []
    for view, group in views:
        why = _why_not(view, division)
        if view.id in sets and why:
            raise UsageError(
                f"set {view.id} may not be submitted to {division}: {why}",
                fix="leave it out, or measure it again",
            )
        if why or (sets and view.id not in sets):
            passed.append((view.id, why or "not named"))
        else:
            chosen.append(Chosen(view, tuple(group), _generation(view, group, members)))
    if not chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in passed[:5])
        raise NotFoundError(
            f"no set in {results} may be submitted to {division}",
            why=reasons,
            fix="mlpstorage reports reportgen says what is wrong with each",
        )
    return Submission(division, organisation, system, tuple(chosen), tuple(passed), system_file)


def _why_not(view: RunSet, division: str) -> str:
    if view.not_a_set:
        return view.not_a_set
    if view.verdict is None:
        return "it is not judged"
    if view.verdict is Category.INVALID:
        worst = [f for f in view.findings if f.category is Category.INVALID]
        worst += [f for r in view.measured for f in r.findings if f.category is Category.INVALID]
        return f"it is INVALID by rule {worst[0].rule}: {worst[0].what}" if worst else "INVALID"
    if division == "CLOSED" and view.verdict is not Category.CLOSED:
        return "it is OPEN at best"
    return ""


def _generation(
    view: RunSet, group: Sequence[Member], members: Sequence[Member]
) -> StoredRun | None:
    """The last generation of this model's data that ended before the set began."""
    began = next((member.run.start for member in group if member.run.start), None)
    found = [
        member.run
        for member in members
        if member.run.command == "datagen"
        and (member.run.kind, member.run.model) == (view.kind, view.model)
        and member.run.status == "complete"
        and (began is None or member.run.start is None or member.run.start <= began)
    ]
    return max(found, key=lambda run: run.start_text) if found else None


def package(submission: Submission, output: Path) -> Path:
    """Make the tree; its root.

    Raises:
        UsageError: the output exists.
        MlpstorageError: a file cannot be read or written, or the code is not that of the runs.
    """
    if output.exists() or output.is_symlink():
        raise UsageError(f"{output} exists", fix="choose another --output-dir, or move it away")
    _require_code(submission)
    parts = output.with_name(f".{output.name}.part")
    try:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        _fill(submission, parts)
        write_checksums(parts)
        parts.rename(output)
    except OSError as error:
        raise refusal(f"cannot make {output}", error) from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return output


def _require_code(submission: Submission) -> None:
    """Only the code that measured can be put into the tree: it is the one that runs."""
    for one in submission.chosen:
        for member in one.members:
            if member.run.code and member.run.code != code_identity():
                raise ConfigurationError(
                    f"run {member.run.run_id} was made by other code than this ({__version__})",
                    why="a submission holds the code that measured",
                    fix="package with the installation that measured",
                )


def _fill(submission: Submission, root: Path) -> None:
    own = root / submission.place
    identity = write_image(root / IMAGES)
    folders: dict[Path, list[Chosen]] = {}
    for one in submission.chosen:
        folder = own / "results" / submission.system / _workload(one.first)
        folders.setdefault(folder, []).append(one)
        for member in one.members:
            _copy_run(member.run, _run_folder(folder, member.run), identity)
        _add_generation(one, folder, identity)
    for folder, chosen in folders.items():
        document = _document(submission, [one.view for one in chosen])
        kind = chosen[0].view.kind
        where = _run_folder(folder, chosen[0].first)
        write_json((where if kind == "training" else folder) / "results.json", document)
    _add_system(submission, own / "systems")


def _workload(run: StoredRun) -> Path:
    """Where the runs of a workload are, below the system."""
    if run.kind in {"training", "checkpointing"}:
        return Path(run.kind) / run.model
    if run.kind == "vector_database" and run.engine:
        return Path(run.kind) / run.engine / run.model
    return Path(run.kind)


def _run_folder(folder: Path, run: StoredRun) -> Path:
    return folder if run.kind == "checkpointing" else folder / run.command


def _copy_run(run: StoredRun, folder: Path, identity: str) -> None:
    """Copy a run's files; links in it are left, and so is everything that is no file."""
    target = folder / run.directory.name
    for name, path in _files(run.directory, ""):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name, follow_symlinks=False)
    write_text(target / POINTER, f"{image_name(identity)}\n")


def _files(directory: Path, above: str) -> Iterator[tuple[str, Path]]:
    for entry in children(directory):
        if is_directory(entry):
            yield from _files(directory / entry.name, f"{above}{entry.name}/")
        elif is_file(entry):
            yield f"{above}{entry.name}", directory / entry.name


def _add_generation(one: Chosen, folder: Path, identity: str) -> None:
    """The generation of the data and the record of its size, where the kind has them."""
    if one.generation is not None:
        _copy_run(one.generation, folder / "datagen", identity)
    record = reporter_of(one.view.kind).size_record(one.first)
    if record is None:
        return
    earliest = (one.generation or one.first).start or one.first.start
    stamp = (earliest - _BEFORE).astimezone().strftime(STAMP) if earliest else one.first.run_id
    target = folder / "datasize" / stamp
    target.mkdir(parents=True, exist_ok=True)
    document = {**record, "run_datetime": stamp, "mlpstorage_version": __version__}
    document |= {"schema_version": 1, "run_id": f"{one.view.kind}_datasize_{stamp}"}
    write_json(target / f"{one.view.kind}_{stamp}{METADATA_SUFFIX}", document)


def _document(submission: Submission, views: list[RunSet]) -> dict[str, Any]:
    created = max((run.end for view in views for run in view.runs), default="")
    return as_json(
        ReportDocument(
            title=f"{submission.organisation} {submission.system}",
            root=str(submission.place / "results" / submission.system),
            created=created or utc_text(datetime.now(timezone.utc)),
            version=__version__,
            sets=tuple(views),
        )
    )


def _add_system(submission: Submission, systems: Path) -> None:
    systems.mkdir(parents=True, exist_ok=True)
    text = (
        read_text(submission.system_file)
        if submission.system_file
        else draft(submission.system, submission.organisation, _hosts(submission))
    )
    write_text(systems / f"{submission.system}.yaml", text)


def _hosts(submission: Submission) -> list[HostRecord]:
    """The hosts of the set that had most of them."""
    return max((list(hosts_of(one.first)) for one in submission.chosen), key=len)
