"""From checked inputs to an answer: chooses the arm, runs it, counts it, signs the request id.

Latencies are measured from the moment the request's head is read to the moment its outputs are
there. A request that fits the schema counts for the arm that was chosen for it, whatever became of
it: errors of the model, 503 and 504 count as that arm's errors, so a slow or failing arm shows.
"""

from __future__ import annotations

import random
from time import perf_counter, time

from serving.batches import Outputs
from serving.cache import cache_key
from serving.plans import Arm, Plan
from serving.replies import ModelRunFailed, Refusal, later
from serving.request_ids import RequestIdSigner
from serving.shadow import Copy, Shadow
from serving.state import ServingState
from serving.tensors import Feeds

VERSION_HEADER = b"x-model-version"
_64_BITS = 2**64 - 1


class Scorer:
    """Answers checked inputs on one worker."""

    __slots__ = ("_nonce", "_shadow", "_sign", "state")

    def __init__(
        self, state: ServingState, signer: RequestIdSigner, shadow: Shadow, noise: random.Random
    ) -> None:
        self.state = state
        self._sign = signer.sign
        self._shadow = shadow
        self._nonce = noise.getrandbits

    def plan(self, model: str) -> Plan:
        """Return how a model is served.

        Raises:
            Refusal: 404, it is not served; 503, nothing is known yet.
        """
        plan = self.state.plans.get(model)
        if plan is not None:
            return plan
        if not self.state.ready:
            raise later("the predictor is still loading its models", 1.0)
        problem = self.state.problems.get(model)
        if problem is not None:
            raise later(problem, 5.0)
        served = ", ".join(sorted(self.state.plans)) or "none"
        raise Refusal(404, f"no model {model[:100]!r} is served here; served: {served}")

    async def score(
        self, plan: Plan, key: bytes, feeds: Feeds, rows: int, began: float
    ) -> tuple[Arm, str, Outputs]:
        """Choose the arm, run its model, count, and sign the request id.

        Raises:
            Refusal: 500, the model failed on this input (with the header `x-model-version`);
                503, too many requests wait.
            DeadlineExceeded: no outputs within the time limit.
        """
        nonce = self._nonce(64)
        arm = plan.champion
        if plan.challenger is not None:
            arm = plan.arm(key or nonce.to_bytes(8, "big"))
        loaded = arm.loaded
        failed = True
        hashed = 0
        try:
            if loaded.cache.enabled:
                cached = cache_key(feeds)
                hashed = hash(cached) & _64_BITS or 1
                outputs = await loaded.through_cache(cached, feeds, rows)
            elif loaded.batcher.at_once(rows):
                outputs = loaded.batcher.run_now(feeds, rows)
            else:
                outputs = await loaded.batcher.submit(feeds, rows)
            predictions = loaded.predictions_of(outputs)
            failed = False
        except ModelRunFailed as failure:
            # Who is told of an error has to know whose it was; an answer would name the version.
            version = (VERSION_HEADER, arm.version_text.encode())
            raise Refusal(500, str(failure), (version,)) from failure
        finally:
            loaded.used_at = ended = perf_counter()
            latency_ms = (ended - began) * 1000.0
            arm.tally.add(latency_ms, failed=failed)
            at = time()
            recording = plan.recording
            if recording is not None:
                recording.latest = feeds
                recording.add(at - (ended - began), hashed, rows, loaded.version)
        if plan.shadow is not None:
            self._shadow.offer(plan.shadow, Copy(feeds, rows, nonce, at, predictions, latency_ms))
        return arm, self._sign(arm.context, nonce, at, predictions), outputs
