from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cache_curves.redis_memory import KeySizes, table_bytes
from tests.services.redis_server import running_redis

MEGABYTE = 2**20


@given(st.integers(1, 10**7), st.floats(40.0, 1e5), st.floats(0.0, 1.0))
def test_so_many_keys_fit_as_it_is_sized_for(keys: int, size: float, expiring: float) -> None:
    sizes = KeySizes(fixed_bytes=900_000.0, key_bytes=size, expiring=expiring)
    assert sizes.keys_in(sizes.bytes_for(keys) + 1) in {keys, keys + 1}
    assert sizes.bytes_for(keys) < sizes.bytes_for(keys + 1)


@pytest.mark.parametrize(("keys", "slots"), [(0, 0), (1, 4), (4, 4), (5, 8), (1024, 1024)])
def test_tables_double(keys: int, slots: int) -> None:
    assert table_bytes(keys) == 8 * slots


def test_an_empty_server_tells_nothing() -> None:
    assert KeySizes.of(used=1e6, fixed=9e5, keys=0, expires=0) is None
    assert KeySizes.of(used=1e6, fixed=2e6, keys=10, expires=0) is None
    assert KeySizes(fixed_bytes=9e5, key_bytes=100.0, expiring=0.0).keys_in(1000.0) == 0


def test_a_real_server_holds_as_many_keys_as_foretold() -> None:
    with running_redis("--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru") as server:
        client = server.client()
        found = []
        for megabytes in (6, 18):
            client.config_set("maxmemory", megabytes * MEGABYTE)
            batch = client.pipeline(transaction=False)
            for key in range(megabytes * 2500):
                batch.set(f"key:{key:08d}", b"x" * 500)
            batch.execute()
            info = client.info()
            fixed = info["used_memory_startup"] + info["mem_clients_normal"]
            keys = info["db0"]["keys"]
            sizes = KeySizes.of(used=info["used_memory"], fixed=fixed, keys=keys, expires=0)
            found.append((keys, sizes))
    (_, small), (held, _) = found
    assert small is not None
    assert small.keys_in(18 * MEGABYTE) == pytest.approx(held, rel=0.03)
