"""Asks a predictor which versions it serves, by the Open Inference Protocol."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from config.errors import UnavailableError

_TIMEOUT_S = 2.0


def served_versions(url: str, model: str) -> tuple[int, ...]:
    """The versions a predictor serves of a model; empty when it does not know the model.

    Raises:
        UnavailableError: the predictor does not answer, or not as expected.
    """
    try:
        answer = httpx.get(f"{url}/v2/models/{quote(model, safe='')}", timeout=_TIMEOUT_S)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return ()
        return tuple(int(version) for version in answer.raise_for_status().json()["versions"])
    except (httpx.HTTPError, ValueError, TypeError, KeyError) as error:
        raise UnavailableError(f"the predictor at {url} gave no usable answer: {error}") from error
