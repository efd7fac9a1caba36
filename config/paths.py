"""Where Prime Spark keeps its files: one home directory, closed to other users."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigError

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Home:
    """The home directory and what stands in it."""

    root: Path

    @property
    def ledger_file(self) -> Path:
        """The SQLite ledger, used unless a database URL is set."""
        return self.root / "ledger.db"

    @property
    def model_cache(self) -> Path:
        """Model files by digest, as fetched from the registry."""
        return self.root / "models"

    @property
    def logs(self) -> Path:
        """Log files of the servers and flows that `prime-spark up` starts."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Run-time state: lock, ports, last good split."""
        return self.root / "run"

    @property
    def traffic(self) -> Path:
        """The predictor's recent traffic; see `registry.traffic`."""
        return self.run / "serving" / "traffic"

    @property
    def secrets(self) -> Path:
        """Keys made on first use; readable by the owner only."""
        return self.root / "secrets"

    @property
    def pause_file(self) -> Path:
        """The kill switch as a file: while it is there, the agent changes nothing."""
        return self.run / "PAUSE"

    @property
    def api_file(self) -> Path:
        """Where the agent's API listens, as `{"url": …}`; written by the API process."""
        return self.run / "api.json"

    @property
    def api_token_file(self) -> Path:
        """The token the command line uses, made on first start; readable by the owner only."""
        return self.secrets / "api-token"

    @property
    def api_tokens_file(self) -> Path:
        """The hashes of all API tokens, with their names and scopes."""
        return self.secrets / "api-tokens.json"

    def create(self) -> Home:
        """Make the directories, mode 0700.

        Raises:
            ConfigError: the directory cannot be made or written.
        """
        for folder in (self.root, self.model_cache, self.logs, self.run, self.secrets):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"cannot create {folder} ({error.strerror}); set home: in the settings, or "
                    "PRIME_SPARK_HOME, to a directory you may write to"
                ) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise ConfigError(
                f"{self.root} is not writable; set PRIME_SPARK_HOME to a directory you may write to"
            )
        return self

    def request_key(self) -> bytes:
        """Return the key that signs request ids, made on first use, the same for every process."""
        return self._key("request-id.key")

    def _key(self, name: str) -> bytes:
        path = self.secrets / name
        self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # Written aside and linked into place: of several processes that start at once,
            # the first link wins, and nobody reads a half-written key.
            draft = self.secrets / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        key = path.read_bytes()
        if len(key) < _KEY_BYTES:
            raise ConfigError(f"{path} is too short to be a key; delete it and start again")
        return key
