"""Limits that machines share: raised where they are small, never lowered."""

from pathlib import Path

import pytest

from devcloud.nspawn.limits import WANTED, raise_limits


def test_small_limits_are_raised_and_large_ones_kept(tmp_path: Path) -> None:
    small, large = WANTED
    for name, value in ((small, 128), (large, 10**9)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")

    raise_limits(tmp_path)

    assert int((tmp_path / small).read_text()) == WANTED[small]
    assert int((tmp_path / large).read_text()) == 10**9


def test_limit_that_cannot_be_raised_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raise_limits(tmp_path)

    assert "fs.inotify.max_user_instances cannot be raised" in caplog.text
