from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export.names import LONGEST, folders

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("horse", "horse"),
        ("not-horse", "not-horse"),
        ("../x", "%2E.%2Fx"),
        ("..", "%2E%2E"),
        ("con", "%63on"),
        ("NUL.txt", "%4EUL.txt"),
        ("a/b\\c:d", "a%2Fb%5Cc%3Ad"),
        ("馬", "馬"),
        ("e\u0301", "e%CC%81"),
        ("ends.", "ends%2E"),
        (" ", "%20"),
        ("__init__", "%5F_init__"),
        ("-rf", "%2Drf"),
        ("a[0]*?", "a%5B0%5D%2A%3F"),
        ("a\nb", "a%0Ab"),
        ("100 %", "100 %25"),
    ],
)
def test_what_a_path_gives_a_meaning_to_is_written_as_in_an_address(label: str, name: str) -> None:
    assert folders([label]) == {label: name}


def test_labels_that_a_file_system_may_take_for_the_same_get_different_folders() -> None:
    found = folders(["Horse", "horse", "HORSE", "ﬁsh", "fish"])
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in found.values()}) == 5
    assert found["horse"] == "%68orse"


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=6, unique=True))
def test_any_labels_get_safe_and_different_folders(labels: list[str]) -> None:
    found = folders(labels)
    assert set(found) == set(labels)
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in found.values()}) == len(labels)
    for label, name in found.items():
        assert name == unicodedata.normalize("NFC", name)
        assert len(name.encode()) <= LONGEST
        assert PurePosixPath(name).parts == (name,)
        assert PureWindowsPath(name).parts == (name,)
        assert not set(name) & set('/\\:*?"<>|[]\n\r\t\0')
        assert name[0] not in ".-_ "
        assert name[-1] not in ". "
        assert not RESERVED.fullmatch(name)
        if len(label) < 20 and label.isprintable() and len(labels) == 1:
            assert unquote(name) == label
