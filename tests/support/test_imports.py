"""Import paths lead to what they name, or to an error that names the key."""

import pytest

from greenflow_ray.errors import ConfigError
from greenflow_ray.support.imports import import_object


def test_it_finds_what_a_path_names() -> None:
    assert import_object("greenflow_ray.support.imports:import_object", "key") is import_object


@pytest.mark.parametrize("path", ["greenflow_ray.support.imports", ":name", "greenflow_ray.support.imports:", ""])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"reward.factory: .*package.module:name"):
        import_object(path, "reward.factory")


@pytest.mark.parametrize("path", ["no_such_package:name", "greenflow_ray.support.imports:no_such_name"])
def test_what_is_not_there_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=r"reward\.factory: .*cannot be imported"):
        import_object(path, "reward.factory")
