"""Brian2 as the engines load it offers scripts what Brian2 offers by itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

DESCRIBE = """
import json, sys
space = {}
exec("from brian2 import *", space)
import brian2
def of(value):
    return [type(value).__name__, str(getattr(value, "__module__", "")), str(getattr(value, "__qualname__", getattr(value, "__name__", "")))]
names = {name: of(value) for name, value in space.items() if name != "__builtins__"}
print(json.dumps([names, {name: of(value) for name, value in vars(brian2).items() if not name.startswith("__")}]))
"""
OURS = """
import sys
import neuro.engines.batched
assert "matplotlib.pyplot" not in sys.modules and "pylab" not in sys.modules
import brian2
assert brian2.max is max and not hasattr(brian2, "no_such_name_anywhere")
"""


def _printed(code: str) -> object:
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_scripts_see_the_namespace_of_brian2_itself() -> None:
    pytest.importorskip("matplotlib")
    assert _printed(OURS + DESCRIBE) == _printed(DESCRIBE)


@pytest.mark.slow
def test_plotting_names_load_when_they_are_asked_for() -> None:
    pytest.importorskip("matplotlib")
    code = "import neuro.engines.batched, brian2, sys; brian2.plot; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


# What Ctrl-C leaves behind: a group of ours that no network took yet. A user's own deserves Brian2's warning.
LEFT = """
import gc
from neuro.engines.brian import brian2
brian2.NeuronGroup(2, "v : 1", name={name!r})
gc.collect()
"""


@pytest.mark.parametrize(("name", "warns"), [("spikeport_0_hidden*", False), ("own", True)])
def test_a_group_that_no_network_took_is_spoken_of_where_it_is_the_users(name: str, warns: bool) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT.format(name=name)], capture_output=True, text=True, check=True)
    assert ("never included in a network" in done.stderr) == warns and (warns or done.stderr == "")
