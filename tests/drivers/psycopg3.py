"""psycopg 3: CRUD, transactions, prepared statements, COPY, pipeline, binary, introspection."""

import sys

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

url = sys.argv[1]

with psycopg.connect(url, row_factory=dict_row) as conn:
    base = conn.execute("SELECT count(*) AS n FROM customers").fetchone()["n"]
    conn.execute(
        "INSERT INTO customers (id, email, name, tags, doc) VALUES (%s, %s, %s, %s, %s)",
        (5001, "psycopg@example.com", "Psycopg", ["x", "y"], Jsonb({"a": [1, None]})),
    )
    row = conn.execute("SELECT * FROM customers WHERE id = %s", (5001,)).fetchone()
    assert list(row) == ["id", "email", "name", "credit", "tags", "doc"], row
    assert row["tags"] == ["x", "y"] and row["doc"] == {"a": [1, None]}, row
    conn.rollback()
    assert conn.execute("SELECT count(*) AS n FROM customers").fetchone()["n"] == base

    with conn.transaction():
        conn.execute("UPDATE customers SET credit = credit + %s WHERE id = %s", (5, 1))
        try:
            with conn.transaction():
                conn.execute("DELETE FROM orders")
                conn.execute("INSERT INTO customers (id, email, name) VALUES (1, 'dup', 'dup')")
        except psycopg.errors.UniqueViolation as error:
            assert error.diag.constraint_name == "customers_pkey", error.diag.constraint_name
            assert error.diag.table_name == "customers" and error.diag.schema_name == "public"
        assert conn.execute("SELECT count(*) AS n FROM orders").fetchone()["n"] == 200
    conn.execute("UPDATE customers SET credit = credit - 5 WHERE id = 1")
    conn.commit()

    for i in range(1, 21):  # becomes a prepared statement after five runs
        got = conn.execute("SELECT name FROM customers WHERE id = %s", (i,)).fetchone()
        assert got == {"name": f"Customer {i}"}, got
    got = conn.execute("SELECT id, credit FROM customers WHERE id = %s", (2,), binary=True).fetchone()
    assert got["id"] == 2, got

    cur = conn.cursor()
    cur.executemany("INSERT INTO orders VALUES (%s, %s, %s)", [(9000 + i, 1, i) for i in range(10)])
    cur.execute("DELETE FROM orders WHERE id >= 9000 RETURNING id")
    assert len(cur.fetchall()) == 10
    with cur.copy("COPY orders (id, customer_id, total) FROM STDIN") as copy:
        for i in range(100):
            copy.write_row((9100 + i, 1, i))
    assert conn.execute("SELECT count(*) AS n FROM orders WHERE id >= 9100").fetchone()["n"] == 100
    with cur.copy("COPY (SELECT id FROM orders WHERE id >= 9100 ORDER BY id) TO STDOUT") as copy:
        assert len(list(copy.rows())) == 100
    conn.rollback()

    with conn.pipeline():
        first = conn.execute("SELECT 1 AS x")
        second = conn.execute("SELECT count(*) AS n FROM customers")
    assert (first.fetchone(), second.fetchone()) == ({"x": 1}, {"n": base})
    conn.commit()

    with conn.cursor("named") as named:
        named.execute("SELECT id FROM customers ORDER BY id")
        assert [r["id"] for r in named.fetchmany(3)] == [1, 2, 3]
    conn.commit()

    try:
        conn.execute("INSERT INTO orders VALUES (9999, 424242, 1)")
        raise AssertionError("a foreign key must hold")
    except psycopg.errors.ForeignKeyViolation as error:
        assert error.diag.constraint_name == "orders_customer_id_fkey"
    conn.rollback()

    columns = conn.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'customers' ORDER BY ordinal_position"
    ).fetchall()
    assert [c["column_name"] for c in columns] == ["id", "email", "name", "credit", "tags", "doc"], columns
    log = conn.execute("SELECT * FROM epoch_log() LIMIT %s", (1,)).fetchone()
    assert "commit_hash" in log, log
    assert conn.execute("SELECT epoch_active_branch() AS b").fetchone()["b"] in ("main", "drivers/branch")
    conn.commit()
