"""asyncpg: binary results, prepared statements, cursors, COPY, type introspection."""

import asyncio
import decimal
import sys

import asyncpg


async def main(url):
    conn = await asyncpg.connect(url)
    base = await conn.fetchval("SELECT count(*) FROM customers")
    row = await conn.fetchrow("SELECT * FROM customers WHERE id = $1", 3)
    assert row["credit"] == decimal.Decimal(3) and row["tags"] == ["a", "b"], row

    try:
        async with conn.transaction():
            tag = await conn.execute(
                "INSERT INTO customers (id, email, name, credit) VALUES ($1, $2, $3, $4)",
                6001, "asyncpg@example.com", "Asyncpg", decimal.Decimal("1.25"),
            )
            assert tag == "INSERT 0 1", tag
            got = await conn.fetchval("UPDATE customers SET credit = credit * 2 WHERE id = $1 RETURNING credit", 6001)
            assert got == decimal.Decimal("2.50"), got
            raise RuntimeError("undo")
    except RuntimeError:
        pass
    assert await conn.fetchval("SELECT count(*) FROM customers") == base

    statement = await conn.prepare("SELECT id, name FROM customers WHERE id = ANY($1::int[]) ORDER BY id")
    assert [r["id"] for r in await statement.fetch([1, 2, 3])] == [1, 2, 3]
    assert [a.name for a in statement.get_attributes()] == ["id", "name"]
    assert [p.name for p in statement.get_parameters()] == ["int4[]"]

    async with conn.transaction():
        ids = [r["id"] async for r in conn.cursor("SELECT id FROM customers ORDER BY id", prefetch=7)]
    assert len(ids) == base

    transaction = conn.transaction()
    await transaction.start()
    await conn.executemany("INSERT INTO orders VALUES ($1, $2, $3)", [(9300 + i, 1, decimal.Decimal(i)) for i in range(20)])
    await conn.copy_records_to_table("orders", records=[(9400 + i, 1, decimal.Decimal(i)) for i in range(20)])
    assert await conn.fetchval("SELECT count(*) FROM orders WHERE id >= 9300") == 40
    await transaction.rollback()

    try:
        await conn.execute("INSERT INTO customers (id, email, name) VALUES (1, 'x', 'x')")
        raise AssertionError("a key must hold")
    except asyncpg.UniqueViolationError as error:
        assert error.constraint_name == "customers_pkey", error.constraint_name
    assert (await conn.fetch("SELECT * FROM epoch_log()"))[0]["message"] is not None
    assert await conn.fetchval("SELECT 1") == 1
    await conn.close()

    pool = await asyncpg.create_pool(url, min_size=2, max_size=4)
    names = await asyncio.gather(*(pool.fetchval("SELECT name FROM customers WHERE id = $1", i) for i in range(1, 30)))
    assert names == [f"Customer {i}" for i in range(1, 30)]
    await pool.close()  # resets each connection: DISCARD-like statements must pass


asyncio.run(main(sys.argv[1]))
