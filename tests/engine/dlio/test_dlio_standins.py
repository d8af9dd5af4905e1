from __future__ import annotations

import importlib.util
import subprocess
import sys

from mlpstorage.engine.dlio.standins import SilentProfile, SilentTracer

PROBE = """
from mlpstorage.engine.dlio import standins
standins.install()
standins.install()
import importlib.util
from dftracer.logger import dftracer as PerfTrace, dft_fn as Profile, DFTRACER_ENABLE
assert not DFTRACER_ENABLE
import tensorflow
assert importlib.util.find_spec("tensorflow") is not None
print(hasattr(tensorflow, "__version__"))
"""


def test_dlio_finds_what_it_imports() -> None:
    """Names of dftracer, and a tensorflow with a spec, can be imported; the real one if there."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    real = importlib.util.find_spec("tensorflow") is not None
    assert done.stdout.strip() == str(real)


def test_decorators_give_the_function_itself() -> None:
    """What dftracer would trace is untouched, and what it would iterate over as well."""
    profile = SilentProfile("module", cat="x")

    def work() -> int:
        return 7

    assert profile.log(work) is work
    assert profile.log_init(work) is work
    values = iter([1, 2])
    assert profile.iter(values) is values
    with profile as inside:
        inside.update(step=1)


def test_the_tree_of_regions_swallows_everything() -> None:
    """Any attribute, call, decorator and `with` of the later tracer works."""
    tracer = SilentTracer()
    with tracer.pipeline.epoch.start(1):
        assert tracer.data.item(len) is len
        assert list(tracer.comm.iter([3])) == [3]
    assert not hasattr(tracer, "__wrapped__")
