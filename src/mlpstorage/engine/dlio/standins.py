"""Stand-ins for what DLIO imports at its start and does not need: dftracer and TensorFlow.

DLIO 2.0.0 uses dftracer's decorators everywhere (its own fall-back for a missing dftracer is
broken) and imports TensorFlow for a profiler that nobody asks for.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

_T = TypeVar("_T")
_TENSORFLOW = "tensorflow"


class SilentProfile:
    """dftracer's decorators and context managers, doing nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> SilentProfile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @staticmethod
    def log(function: _T) -> _T:
        """The function itself."""
        return function

    log_init = log
    log_static = log

    @staticmethod
    def iter(values: Iterable[_T], *_: object, **__: object) -> Iterable[_T]:
        """The values themselves."""
        return values

    def update(self, *_: object, **__: object) -> None:
        """Note nothing."""

    flush = reset = update


class SilentTracer:
    """dftracer's tracer and the tree of regions of its later versions, doing nothing."""

    def __getattr__(self, name: str) -> SilentTracer:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **_: object) -> Any:  # noqa: ANN401 - a decorator or a call
        """A decorated function itself, and for every other call this object."""
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __enter__(self) -> SilentTracer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @staticmethod
    def iter(values: Iterable[_T], *_: object, **__: object) -> Iterable[_T]:
        """The values themselves."""
        return values


def install() -> None:
    """Put the stand-ins where `import` finds them; TensorFlow's only where there is none."""
    tracer = SilentTracer()
    contents = {
        "dftracer": tracer,
        "dft_fn": SilentProfile,
        "ai": tracer,
        "DFTRACER_ENABLE": False,
    }
    for name in ("dftracer", "dftracer.logger", "dftracer.python"):
        module = _module(name)
        vars(module).update(contents)
        sys.modules[name] = module
    if not has_tensorflow():
        sys.modules[_TENSORFLOW] = _module(_TENSORFLOW)


def has_tensorflow() -> bool:
    """Whether the real TensorFlow is installed.

    >>> has_tensorflow() == (importlib.machinery.PathFinder.find_spec("tensorflow") is not None)
    True
    """
    return importlib.machinery.PathFinder.find_spec(_TENSORFLOW) is not None


def _module(name: str) -> ModuleType:
    """An empty module with a spec, which whoever looks for optional packages wants to see."""
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    return module
