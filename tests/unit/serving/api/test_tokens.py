"""Tokens: hashed at rest, closed files, scopes, revoking, many processes at once."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import ConfigError, ConflictError, InputError
from config.paths import Home
from serving.api.tokens import Scope, TokenFile


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.fixture
def tokens(home: Home, clock: ManualClock) -> TokenFile:
    made = TokenFile(home, clock)
    made.prepare()
    return made


def test_the_first_start_makes_a_token_for_the_command_line(tokens: TokenFile, home: Home) -> None:
    secret = home.api_token_file.read_text().strip()
    owner = tokens.owner_of(secret)
    assert owner is not None
    assert (owner.name, owner.scope) == ("cli", Scope.ADMIN)


def test_only_the_owner_can_read_the_files(tokens: TokenFile, home: Home) -> None:
    files = [home.api_token_file, home.api_tokens_file]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700


def test_secrets_are_not_kept(tokens: TokenFile, home: Home) -> None:
    _, secret = tokens.make("grafana", Scope.READ)
    kept = home.api_tokens_file.read_text()
    assert secret not in kept
    assert home.api_token_file.read_text().strip() not in kept
    assert len(secret) >= 40


def test_a_second_start_keeps_the_token(tokens: TokenFile, home: Home, clock: ManualClock) -> None:
    before = home.api_token_file.read_text()
    TokenFile(home, clock).prepare()
    assert home.api_token_file.read_text() == before


def test_a_lost_token_is_replaced_and_the_old_one_is_refused(
    tokens: TokenFile, home: Home, clock: ManualClock
) -> None:
    old = home.api_token_file.read_text().strip()
    home.api_token_file.unlink()
    TokenFile(home, clock).prepare()
    new = home.api_token_file.read_text().strip()
    assert tokens.owner_of(old) is None
    assert tokens.owner_of(new) is not None


def test_starts_at_the_same_time_agree_on_one_token(tmp_path: Path, clock: ManualClock) -> None:
    home = Home(tmp_path / "shared").create()
    files = [TokenFile(home, clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: one.prepare(), files))
    secret = home.api_token_file.read_text().strip()
    assert all(one.owner_of(secret) is not None for one in files)
    assert len(json.loads(home.api_tokens_file.read_text())["tokens"]) == 1


def test_a_token_made_by_another_process_is_known_at_once(
    tokens: TokenFile, home: Home, clock: ManualClock
) -> None:
    tokens.owner_of("warm up what is remembered")
    _, secret = TokenFile(home, clock).make("other", Scope.APPROVE)
    owner = tokens.owner_of(secret)
    assert owner is not None
    assert owner.scope is Scope.APPROVE


def test_a_revoked_token_is_refused_at_once(
    tokens: TokenFile, home: Home, clock: ManualClock
) -> None:
    _, secret = tokens.make("old", Scope.READ)
    assert tokens.owner_of(secret) is not None
    assert TokenFile(home, clock).revoke("old")
    assert tokens.owner_of(secret) is None
    assert not tokens.revoke("old")


def test_a_name_belongs_to_one_token(tokens: TokenFile) -> None:
    tokens.make("grafana", Scope.READ)
    with pytest.raises(ConflictError, match="grafana already"):
        tokens.make("grafana", Scope.ADMIN)


def test_the_command_lines_own_token_cannot_be_revoked(tokens: TokenFile) -> None:
    with pytest.raises(InputError, match="command line"):
        tokens.revoke("cli")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"tokens": [{"name": "x"}]}'])
def test_a_damaged_file_lets_nobody_in(tokens: TokenFile, home: Home, damage: str) -> None:
    secret = home.api_token_file.read_text().strip()
    home.api_tokens_file.write_text(damage)
    with pytest.raises(ConfigError, match="cannot be used as a list of tokens"):
        tokens.owner_of(secret)


@pytest.mark.parametrize("secret", ["", " ", "ps_", "\ud800", "x" * 10_000, "cli"])
def test_what_is_no_token_belongs_to_nobody(tokens: TokenFile, secret: str) -> None:
    assert tokens.owner_of(secret) is None


def test_a_scope_covers_those_before_it() -> None:
    covered = {scope: [other for other in Scope if scope.covers(other)] for scope in Scope}
    assert covered == {
        Scope.READ: [Scope.READ],
        Scope.APPROVE: [Scope.READ, Scope.APPROVE],
        Scope.ADMIN: [Scope.READ, Scope.APPROVE, Scope.ADMIN],
    }
