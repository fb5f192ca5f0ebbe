from collections.abc import Iterator

import pytest

from tiny import Data, make


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """A tiny data set up to split; tests only read it."""
    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def outside_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests run in a folder without git: DVCLive would read the project's own history and leave its files open."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("outside-git"))
        yield
