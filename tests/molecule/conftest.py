"""The local AWS and the services beside its permanent one, as end to end; how long each scenario took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import services
from tests.e2e.installed import shared

from .plant import remove
from .scenario import Scenario

__all__ = ["scenario", "services"]

Make = Callable[..., Scenario]


@pytest.fixture
def scenario(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> Iterator[Make]:
    """Makes a scenario by its name; with a version, from the built collection under that ansible-core."""
    made: list[Scenario] = []

    def make(name: str, version: str = "") -> Scenario:
        folder = tmp_path_factory.mktemp(name)
        installed = shared(tmp_path_factory, version, folder / "empty") if version else None
        made.append(Scenario(name, folder / "molecule", installed))
        made[-1].folder.mkdir()
        return made[-1]

    yield make
    for each in made:
        remove(each.folder / "planted.json")  # when a test of the sweep has failed
        under = f" under ansible-core {each.installed.version}" if each.installed else ""
        took = (f"{action} {', '.join(f'{s:.0f}' for s in seconds)} s" for action, seconds in each.seconds.items())
        record_property("molecule", f"{each.name}{under}: {'; '.join(took)}")
