"""Loads the uncompiled twin of a compiled module, so that tests can hold the two against each other.

A parser of ours is one `.py` file that is compiled with a `.pxd` beside it. `import relayd.headers` gives the compiled
module; `load_uncompiled("relayd.headers")` runs the same file as plain Python, under another name and beside it.
"""

from importlib import import_module, util
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest


def is_compiled(module: ModuleType) -> bool:
    """Whether `module` came from an extension."""
    return str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES))


def load_uncompiled(name: str) -> ModuleType:
    """The module `name` from its `.py` file, whatever extension lies beside it. Its imports are the usual ones."""
    package, _, leaf = name.rpartition(".")
    path = Path(import_module(package).__path__[0]) / f"{leaf}.py"
    twin = f"{package}.uncompiled_{leaf}"
    loader = SourceFileLoader(twin, str(path))
    spec = util.spec_from_loader(twin, loader)
    assert spec is not None
    module = util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def load_compiled(name: str) -> ModuleType:
    """The extension `name`; the test is skipped with the reason where it was not built."""
    module = import_module(name)
    if not is_compiled(module):
        pytest.skip(f"{name} is not compiled here")
    return module


def load_both(name: str) -> list[ModuleType]:
    """The compiled module, where there is one, and its uncompiled twin; for `parametrize`."""
    module = import_module(name)
    return [module, load_uncompiled(name)] if is_compiled(module) else [load_uncompiled(name)]
