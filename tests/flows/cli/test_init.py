"""`millrace init`: a file that works as it is, and never one in the place of another."""

from pathlib import Path

import pytest

from flows.cli.configuration_screen import check
from flows.services.first_configuration import init
from schemas.config.toml import load
from schemas.errors import Unusable


def test_what_is_written_is_sound_short_and_has_keys_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    init(one)
    init(other)
    assert check(one) == 0
    assert "warning" not in capsys.readouterr().out
    keys = [
        (config.gateway.write_keys[0].key, config.gateway.read_tokens[0])
        for config in map(load, (one, other))
    ]
    assert len({text for pair in keys for text in pair}) == 4
    assert (one.stat().st_mode & 0o777, one.read_text().count("\n") < 60) == (0o600, True)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "millrace.toml"
    file.write_text("mine")
    with pytest.raises(Unusable, match="is there already"):
        init(file)
    assert file.read_text() == "mine"
