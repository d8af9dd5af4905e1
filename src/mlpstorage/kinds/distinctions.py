"""What tells sets of one workload from each other: the settings in which they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.kinds.run_details import leaves, shown_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.store.runs import StoredRun

Distinction = tuple[tuple[str, str], ...]
_UNSET = "–"
_SEED = "seed"  # another one in every run: no difference


def distinctions(runs: Sequence[StoredRun]) -> list[Distinction]:
    """Of each run, one of every set: the names and values that others of its workload have not.

    Ranks and hosts are left out: a report has them anyway.
    """
    values = [_values(run) for run in runs]
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, run in enumerate(runs):
        alike.setdefault(_workload(run), []).append(place)
    found: list[Distinction] = [() for _ in runs]
    for places in alike.values():
        names = dict.fromkeys(name for place in places for name in values[place])
        differing = [n for n in names if len({values[p].get(n, _UNSET) for p in places}) > 1]
        for place in places:
            found[place] = tuple((name, values[place].get(name, _UNSET)) for name in differing)
    return found


def _workload(run: StoredRun) -> tuple[str, ...]:
    place = run.place
    return (run.origin, place.organisation, place.system, run.kind, run.model, run.accelerator)


def _values(run: StoredRun) -> dict[str, str]:
    """Every setting of a run as text: of others' runs those that were set by hand."""
    known = {
        name: shown_value(value)
        for name, value in leaves(run.parameters or run.overrides)
        if name.rpartition(".")[2] != _SEED
    }
    return {**known, "engine": run.engine, "division": run.division}
