"""Optional packages: imported where they are, named with their requirements file where they are not."""

import json

import pytest

from utils.errors import UserError
from utils.optional import import_optional


def test_a_package_that_is_there() -> None:
    assert import_optional("json", "search", "--index=hnsw") is json


def test_a_package_that_is_not_there_is_named_with_what_brings_it() -> None:
    with pytest.raises(UserError, match=r"--index=hnsw needs nowhere_at_all.*-r requirements/search.txt"):
        import_optional("nowhere_at_all.part", "search", "--index=hnsw")
