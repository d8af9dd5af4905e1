"""The actions of `mlpstorage reports …`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.surroundings import deliver
from mlpstorage.cli.values import printable
from mlpstorage.config import user_path
from mlpstorage.core.errors import (
    EXIT_INVALID,
    EXIT_OK,
    AccessError,
    NotFoundError,
    UsageError,
    did_you_mean,
)
from mlpstorage.core.rules import EDITIONS
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds import KINDS
from mlpstorage.kinds.sets import report_of
from mlpstorage.report.files import as_json, write_files
from mlpstorage.report.show import publish
from mlpstorage.report.table import sections_of
from mlpstorage.store.codec import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mlpstorage.cli.reports.options import PackageOptions, ReportgenOptions, ValidateOptions
    from mlpstorage.kinds.tree_package import Submission
    from mlpstorage.report.model import ReportDocument

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def reportgen(options: ReportgenOptions, _sources: Mapping[str, str]) -> int:
    """Read and judge all runs, write the files, show the table."""
    root = _directory(options.results_dir, "--results-dir")
    output = user_path(options.output_dir, "--output-dir") if options.output_dir else root
    for kind in options.kind:
        if kind not in {group.name for group in KINDS}:
            fix = did_you_mean(kind, [group.name for group in KINDS])
            raise UsageError(f"--kind {kind!r} is unknown", fix=fix)
    document = report_of(root, options.kind)
    _make(output)
    written = [*write_files(document, output)]
    if not options.no_html:
        written.append(_html(document, output))
    sections = [*sections_of(document), _files(written)]
    shown = tuple(_printable(section) for section in sections)
    deliver(partial(publish, shown, as_json(document), as_json=options.json), kept=str(output))
    return EXIT_OK


def validate(options: ValidateOptions, _sources: Mapping[str, str]) -> int:
    """Judge a submission; 1 when it is INVALID."""
    from mlpstorage.kinds.tree_verdict import as_json as judgement_json
    from mlpstorage.kinds.tree_verdict import sections_of as judgement_sections
    from mlpstorage.kinds.tree_verdict import validate as judge_tree

    if not options.tree:
        raise UsageError("no tree is named", fix="give its root: mlpstorage reports validate TREE")
    if options.edition and options.edition not in EDITIONS:
        fix = did_you_mean(options.edition, EDITIONS)
        raise UsageError(f"--edition {options.edition!r} is unknown", fix=fix)
    judgement = judge_tree(_directory(options.tree, "the root"), options.edition)
    document = judgement_json(judgement)
    if options.output:
        write_json(user_path(options.output, "--output"), document)
    shown = tuple(_printable(section) for section in judgement_sections(judgement))
    deliver(partial(publish, shown, document, as_json=options.json))
    return EXIT_OK if judgement.is_valid else EXIT_INVALID


def package(options: PackageOptions, _sources: Mapping[str, str]) -> int:
    """Make a submission of the sets that may be submitted, then judge it.

    What only the submitter can add is listed, and no failure: `validate` insists on it.
    """
    from mlpstorage.kinds.tree_package import package as make
    from mlpstorage.kinds.tree_package import plan_submission

    for flag, name in (("--organisation", options.organisation), ("--system", options.system)):
        if not _COMPONENT.fullmatch(name):
            raise UsageError(
                f"{flag} is {name!r}" if name else f"{flag} is missing",
                fix="give a name of letters, digits, dots, dashes and underscores",
            )
    if options.closed == options.open:
        raise UsageError("no division is chosen", fix="give --closed or --open")
    submission = plan_submission(
        _directory(options.results_dir, "--results-dir"),
        division="CLOSED" if options.closed else "OPEN",
        organisation=options.organisation,
        system=options.system,
        sets=options.set,
        system_file=user_path(options.system_file, "--system-file")
        if options.system_file
        else None,
    )
    document = _submission_document(submission)
    sections = [_submission_section(submission)]
    code = EXIT_OK
    if not options.what_if:
        made = make(submission, _output_of(options))
        more, verdict, code = _judged(made)
        sections += [Section("made", rows=(Row("tree", str(made)),)), *more]
        document |= {"tree": str(made), **verdict}
    shown = tuple(_printable(section) for section in sections)
    deliver(partial(publish, shown, document, as_json=options.json))
    return code


def _output_of(options: PackageOptions) -> Path:
    return user_path(options.output_dir or f"submission-{options.organisation}", "--output-dir")


def _judged(made: Path) -> tuple[tuple[Section, ...], dict[str, Any], int]:
    from mlpstorage.kinds.tree_verdict import as_json as judgement_json
    from mlpstorage.kinds.tree_verdict import draft_of, placed_json
    from mlpstorage.kinds.tree_verdict import validate as judge_tree

    judgement = judge_tree(made)
    draft = draft_of(judgement)
    code = EXIT_OK if draft.rest.is_valid else EXIT_INVALID
    to_do = [placed_json(placed) for placed in draft.to_do]
    return draft.sections(), {"validation": judgement_json(judgement), "to_do": to_do}, code


def _submission_section(submission: Submission) -> Section:
    rows = [Row("set", one.view.id, f"{len(one.members)} runs") for one in submission.chosen]
    rows += [Row("left out", name, why) for name, why in submission.passed_over]
    return Section(f"{submission.division} of {submission.organisation}", rows=tuple(rows))


def _submission_document(submission: Submission) -> dict[str, Any]:
    return {
        "division": submission.division,
        "organisation": submission.organisation,
        "system": submission.system,
        "sets": [one.view.id for one in submission.chosen],
        "left_out": [{"set_id": name, "why": why} for name, why in submission.passed_over],
    }


def _html(document: ReportDocument, output: Path) -> Path:
    from mlpstorage.report.html.page import write_html

    path = output / "report.html"
    write_html(document, path)
    return path


def _files(paths: Iterable[Path]) -> Section:
    return Section("written", rows=tuple(Row(path.name, str(path)) for path in paths))


def _directory(text: str, option: str) -> Path:
    path = user_path(text, option)
    if not path.is_dir():
        raise NotFoundError(f"there is no directory {text}", fix=f"pass {option} of the results")
    return path


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccessError(
            f"cannot create {output} ({error.strerror})", fix="choose another --output-dir"
        ) from error


def _printable(section: Section) -> Section:
    """The section without control characters: names in results may come from anybody."""
    rows = tuple(Row(*map(printable, (r.label, r.value, r.note))) for r in section.rows)
    table = section.table
    if table is not None:
        table = Table(table.head, tuple(tuple(map(printable, line)) for line in table.body))
    return replace(section, title=printable(section.title), rows=rows, table=table)
