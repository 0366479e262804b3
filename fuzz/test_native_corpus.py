"""Every committed input of the native targets, past findings among them, once under the sanitizers: nothing to say."""

import pytest

from fuzz.native.build import NoCompiler, build
from fuzz.native.run import CORPUS, TARGETS, replay

# The first one compiles the fuzzer: a minute of clang on a quiet machine, several on a busy one.
pytestmark = [pytest.mark.system, pytest.mark.anytime, pytest.mark.timeout(900)]


@pytest.mark.parametrize("target", TARGETS)
def test_native_corpus_is_clean(target: str) -> None:
    try:
        tree = build()
    except NoCompiler as missing:
        pytest.skip(str(missing))
    assert replay(tree, target, CORPUS / target) == ""
