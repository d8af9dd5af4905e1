"""The actions of `mlpstorage lockfile …`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.lockfile.show import check_section, host_name, mending_section
from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import EXIT_OK, ConfigurationError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section
from mlpstorage.preflight.lockfile.compare import Leniency
from mlpstorage.preflight.lockfile.generate import generate_declared, generate_running
from mlpstorage.preflight.lockfile.verify import normalised
from mlpstorage.preflight.lockfile.verify import verify as verify_lock
from mlpstorage.report.show import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.lockfile.options import GenerateOptions, VerifyOptions
    from mlpstorage.preflight.lockfile.generate import Made
    from mlpstorage.preflight.lockfile.verify import HostCheck, Verification


def generate(options: GenerateOptions, _sources: Mapping[str, str]) -> Answer:
    """Write the lockfile, and say what is in it and how to install it."""
    output = Path(options.output).expanduser()
    if options.pyproject or options.extra or options.all or options.python_version:
        made = generate_declared(
            output,
            Path(options.pyproject or "pyproject.toml").expanduser(),
            extras=tuple(word for text in options.extra for word in text.replace(",", " ").split()),
            hashes=options.hashes,
            python_version=options.python_version,
            everything=options.all,
        )
    else:
        made = [generate_running(output, hashes=options.hashes)]
    sections = tuple(_made_section(one) for one in made)
    return Answer(sections, {"lockfiles": [_made_document(one) for one in made]})


def _made_section(made: Made) -> Section:
    record = made.record
    rows = [Row("pinned", f"{len(made.pins)} packages of {record.source}")]
    rows += [
        Row(name, value) for name, value in dataclasses.asdict(record.environment).items() if value
    ]
    rows += [Row("resolved by", record.resolver)] if record.resolver else []
    rows += [Row("note", note) for note in made.notes]
    rows += [Row("kept", f"the file that was there is now {made.kept}")] if made.kept else []
    words = shlex.join(made.install_words)
    lines = (
        f"install: pip install {words}",
        f"   or    uv pip install {words}",
        f"check:   mlpstorage lockfile verify --lockfile {shlex.quote(str(made.path))}",
    )
    return Section(str(made.path), rows=tuple(rows), lines=lines)


def _made_document(made: Made) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "source": made.record.source,
        "resolver": made.record.resolver or None,
        "environment": dataclasses.asdict(made.record.environment),
        "packages": {pin.name: pin.locked for pin in made.pins},
        "local": dict(made.record.local),
        "no_deps": made.record.no_deps,
        "notes": list(made.notes),
        "kept": str(made.kept) if made.kept else None,
    }


def verify(options: VerifyOptions, _sources: Mapping[str, str]) -> int:
    """Compare the lockfile with this host and others; 5 when something differs."""
    found = verify_lock(
        Path(options.lockfile).expanduser(),
        parse_hosts(options.hosts),
        Leniency(normalised(options.skip), options.allow_missing, options.strict),
    )
    sections = [check_section(check, found.lock) for check in found.checks]
    sections += [mending_section(found)] if found.errors else []
    publish(sections, _verify_document(found), as_json=options.json)
    return ConfigurationError.exit_code if found.errors else EXIT_OK


def _verify_document(found: Verification) -> dict[str, Any]:
    return {
        "valid": not found.errors,
        "lockfile_path": str(found.lock.path),
        "format": found.lock.format,
        "hosts": [_host_document(check) for check in found.checks],
        "fixes": list(dict.fromkeys(problem.fix for problem in found.problems())),
    }


def _host_document(check: HostCheck) -> dict[str, Any]:
    kinds = [difference.kind for difference in check.differences]
    counts = {kind: kinds.count(kind) for kind in ("mismatch", "missing", "extra", "skipped")}
    differences = [
        {**dataclasses.asdict(difference), "message": difference.what}
        for difference in check.differences
    ]
    return {
        "host": host_name(check),
        "total": check.total,
        "matched": check.matched,
        **counts,
        "differences": differences,
    }
