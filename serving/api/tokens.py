"""Bearer tokens: random, kept only as hashes, each with a name and a scope.

On the first start a token with all rights is made for the command line and written, as it is, to
a file that only its owner can read. Any other token is shown once, when it is made. A token that is
revoked is refused at its next use, by every process that reads the file.

A token holds 256 random bits, so a plain SHA-256 of it can neither be turned round nor guessed; a
slow hash would only help with passwords that people think of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from config.clock import Clock, epoch
from config.errors import ConfigError, ConflictError, InputError
from config.paths import Home

CLI_NAME = "cli"
MAX_TOKENS = 1000

_PREFIX = "ps_"
_SECRET_BYTES = 32


class Scope(StrEnum):
    """What a token may do; each one may also do what those before it may."""

    READ = "read"
    APPROVE = "approve"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """Tell whether this scope is enough where `needed` is asked for."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept; `name` is who acts with it, in the ledger's records."""

    name: str
    scope: Scope
    sha256: str
    created_at: float


class TokenFile:
    """The tokens of one home."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._path = home.api_tokens_file
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._by_hash: dict[str, Token] = {}

    def prepare(self) -> None:
        """Make the command line's token, unless there is one that holds already.

        Raises:
            ConfigError: the files cannot be written, or are damaged.
        """
        with self._changing() as tokens:
            if self._cli_token_holds(tokens):
                return
            secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
            _write(self._home.api_token_file, secret + "\n")
            tokens[CLI_NAME] = self._token(CLI_NAME, Scope.ADMIN, secret)

    def owner_of(self, secret: str) -> Token | None:
        """Return the token that `secret` is; None for an unknown one.

        Raises:
            ConfigError: the file is damaged.
        """
        # Looked up by its hash: how long that takes says nothing about any token's secret.
        digest = _hashed(secret)
        with self._lock:
            self._reload()
            return self._by_hash.get(digest)

    def all(self) -> list[Token]:
        """Every token, by name."""
        return sorted(self._read().values(), key=lambda token: token.name)

    def make(self, name: str, scope: Scope) -> tuple[Token, str]:
        """Make a token; its secret is nowhere else.

        Raises:
            ConflictError: the name is taken.
            InputError: there are too many tokens.
        """
        secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        with self._changing() as tokens:
            if name in tokens:
                raise ConflictError(f"there is a token {name} already; revoke it first")
            if len(tokens) >= MAX_TOKENS:
                raise InputError(f"there are {MAX_TOKENS} tokens already; revoke unused ones")
            tokens[name] = token = self._token(name, scope, secret)
        return token, secret

    def revoke(self, name: str) -> bool:
        """Refuse a token from now on; return whether there was one of that name.

        Raises:
            InputError: it is the command line's own token.
        """
        if name == CLI_NAME:
            raise InputError(
                f"the command line uses the token {CLI_NAME}; to replace it, delete "
                f"{self._home.api_token_file} and start the API again"
            )
        with self._changing() as tokens:
            return tokens.pop(name, None) is not None

    def _token(self, name: str, scope: Scope, secret: str) -> Token:
        return Token(name, scope, _hashed(secret), epoch(self._clock.now()))

    def _cli_token_holds(self, tokens: dict[str, Token]) -> bool:
        try:
            secret = self._home.api_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return False
        known = tokens.get(CLI_NAME)
        return known is not None and known.sha256 == _hashed(secret)

    def _reload(self) -> None:
        state = _state_of(self._path)
        if state is None or state != self._seen:
            self._by_hash = {token.sha256: token for token in self._read().values()}
            self._seen = state

    def _read(self) -> dict[str, Token]:
        try:
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            tokens = [Token(**(one | {"scope": Scope(one["scope"])})) for one in raw["tokens"]]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path} cannot be used as a list of tokens ({type(error).__name__}); delete "
                "it and start the API again to get a new one"
            ) from error
        return {token.name: token for token in tokens}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """Give the tokens to change; one process at a time, all or nothing."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.with_suffix(".lock")):
            tokens = self._read()
            before = dict(tokens)
            yield tokens
            if tokens != before:
                _write(self._path, json.dumps({"tokens": [asdict(one) for one in tokens.values()]}))


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _state_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole; nobody but its owner can read it, at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise ConfigError(
            f"cannot write {path} ({error.strerror}); check the permissions of its directory"
        ) from error
