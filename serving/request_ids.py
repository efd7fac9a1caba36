"""Signed request ids: they carry what feedback needs, so that no worker has to remember a request.

An id names model, version, variant, experiment, a nonce and the second of the answer, and, when
they are few, the predictions themselves. It is signed with the home's request key (BLAKE2b in its
keyed mode, RFC 7693, 16 bytes), so an id that was not given out here is recognised. It is not
encrypted: whoever holds the answer may read back what the answer said.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

import orjson

from config.errors import InputError
from registry.records import Variant

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FORMAT = b"\x01"
_MAC_BYTES = 16
_NONCE_BYTES = 8
_TIME_BYTES = 5
_HEAD_BYTES = 1 + _TIME_BYTES + _NONCE_BYTES + 2
_LONGEST = 2048
# Predictions longer than this are left out of the id: it has to fit logs, columns and headers.
LABEL_BYTES = 160


class ForgedRequestId(InputError):
    """A request id that was not signed with this home's key."""


@dataclass(frozen=True, slots=True)
class RequestId:
    """What a request id says; `predictions` is None where they were too long to be carried."""

    nonce: str
    at: float
    model: str
    version: int
    variant: Variant
    experiment_id: str | None
    predictions: tuple[str | int | float | bool, ...] | None


class RequestIdSigner:
    """Writes and reads request ids with one key."""

    __slots__ = ("_key", "_mac")

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        self._mac = blake2b(key=self._key, digest_size=_MAC_BYTES)

    @staticmethod
    def context(model: str, version: int, variant: Variant, experiment_id: str | None) -> bytes:
        """Return the part that is the same for all answers of one arm, made once for it."""
        text = orjson.dumps([model, version, variant.value, experiment_id])
        return len(text).to_bytes(2, "big") + text

    def sign(self, context: bytes, nonce: int, at: float, predictions: bytes) -> str:
        """Return a request id.

        Args:
            context: what `context` returned for the arm that answers.
            nonce: a random number of 64 bits.
            at: seconds since the epoch.
            predictions: a JSON list, or nothing.
        """
        body = b"".join(
            (
                _FORMAT,
                int(at).to_bytes(_TIME_BYTES, "big"),
                nonce.to_bytes(_NONCE_BYTES, "big"),
                context,
                predictions,
            )
        )
        # By hand what `urlsafe_b64encode` does: a request that comes alone finds cold caches, and
        # each function it touches costs more than its work.
        mac = self._mac.copy()
        mac.update(body)
        text = b2a_base64(body + mac.digest(), newline=False)
        return text.translate(_URL_SAFE, b"=").decode("ascii")

    def read(self, text: str) -> RequestId:
        """Return what an id says.

        Raises:
            ForgedRequestId: the text is not an id that was signed with this key.
        """
        body = self._verified(text)
        at = int.from_bytes(body[1 : 1 + _TIME_BYTES], "big")
        nonce = body[1 + _TIME_BYTES : 1 + _TIME_BYTES + _NONCE_BYTES]
        size = int.from_bytes(body[_HEAD_BYTES - 2 : _HEAD_BYTES], "big")
        model, version, variant, experiment = orjson.loads(body[_HEAD_BYTES : _HEAD_BYTES + size])
        rest = body[_HEAD_BYTES + size :]
        return RequestId(
            nonce=nonce.hex(),
            at=float(at),
            model=model,
            version=version,
            variant=Variant(variant),
            experiment_id=experiment,
            predictions=tuple(orjson.loads(rest)) if rest else None,
        )

    def _verified(self, text: str) -> bytes:
        if len(text) <= _LONGEST and text.isascii():
            try:
                raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                raw = b""
            body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
            wanted = blake2b(body, key=self._key, digest_size=_MAC_BYTES).digest()
            # The text is compared too: base64 has several spellings of one id.
            spelled = urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
            if (
                len(body) > _HEAD_BYTES
                and body[:1] == _FORMAT
                and compare_digest(mac, wanted)
                and spelled == text
            ):
                return body
        raise ForgedRequestId(
            "this request id was not given out by this predictor; send the id of an answer as it is"
        )
