"""SQLAlchemy and Alembic make, change, reflect and drop tables; a branch shows its own schema as main does."""

import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (BigInteger, CheckConstraint, Column, ForeignKey, Identity, Index, Integer, MetaData, Numeric, Table, Text,
                        UniqueConstraint, create_engine, inspect, text)

metadata = MetaData()
customers = Table("customers", metadata, Column("id", Integer, primary_key=True))
reviews = Table(
    "reviews", metadata,
    Column("id", Integer, primary_key=True),
    Column("customer_id", Integer, ForeignKey("customers.id", name="reviews_customer_fkey", ondelete="CASCADE"), nullable=False),
    Column("stars", Integer, nullable=False, server_default=text("3"), comment="at most five"),
    Column("body", Text),
    CheckConstraint("stars BETWEEN 0 AND 5", name="reviews_stars_check"),
    UniqueConstraint("customer_id", "body", name="reviews_body_key"),
    Index("reviews_stars_idx", "stars", postgresql_where=text("body IS NOT NULL")),
    comment="what customers say",
)
labels = Table(
    "labels", metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("price", Numeric(8, 2)),
)

engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT")


def differences(conn):
    wanted = ("reviews", "labels")
    context = MigrationContext.configure(conn, opts={
        "compare_type": True, "compare_server_default": True,
        "include_name": lambda name, kind, parents: kind != "table" or name in wanted,
        "include_object": lambda thing, name, kind, reflected, other: kind != "table" or name in wanted,
    })
    return compare_metadata(context, metadata)


with engine.connect() as conn:
    before = set(inspect(conn).get_table_names())
    metadata.create_all(conn)
    try:
        found = inspect(conn)
        assert set(found.get_table_names()) == before | {"reviews", "labels"}, found.get_table_names()
        assert differences(conn) == [], differences(conn)
        [key] = found.get_foreign_keys("reviews")
        assert (key["referred_table"], key["referred_schema"], key["options"]) == ("customers", None, {"ondelete": "CASCADE"}), key
        assert found.get_pk_constraint("reviews")["name"] == "reviews_pkey"
        assert [c["name"] for c in found.get_check_constraints("reviews")] == ["reviews_stars_check"]
        assert [u["column_names"] for u in found.get_unique_constraints("reviews")] == [["customer_id", "body"]]
        index = {i["name"]: i for i in found.get_indexes("reviews")}["reviews_stars_idx"]
        assert index["dialect_options"]["postgresql_where"] == "(body IS NOT NULL)", index
        assert found.get_table_comment("reviews") == {"text": "what customers say"}
        columns = {c["name"]: c for c in found.get_columns("reviews")}
        assert columns["id"]["default"] == "nextval('reviews_id_seq'::regclass)", columns["id"]
        assert columns["stars"]["comment"] == "at most five"
        assert found.get_columns("labels")[0]["identity"]["always"] is True
        assert found.get_sequence_names() == ["labels_number_seq", "reviews_id_seq"], found.get_sequence_names()

        # What a migration does is reflected.
        operations = Operations(MigrationContext.configure(conn))
        operations.add_column("reviews", Column("likes", Integer, nullable=False, server_default=text("0")))
        operations.alter_column("reviews", "body", new_column_name="said")
        operations.create_index("reviews_likes_idx", "reviews", ["likes"])
        [change, *more] = sorted(differences(conn), key=str)
        assert len(more) > 0 and "reviews" in str(change)
        found = inspect(conn)
        assert [c["name"] for c in found.get_columns("reviews")] == ["id", "customer_id", "stars", "said", "likes"]
        assert "reviews_likes_idx" in {i["name"] for i in found.get_indexes("reviews")}
        reflected = Table("reviews", MetaData(), autoload_with=conn)
        conn.execute(reflected.insert(), [{"customer_id": 1, "said": "good"}, {"customer_id": 2, "said": "bad", "likes": 3}])
        assert conn.execute(reflected.select().order_by(reflected.c.id)).fetchall() == [(1, 1, 3, "good", 0), (2, 2, 3, "bad", 3)]
    finally:
        reviews.drop(conn, checkfirst=True)
        labels.drop(conn, checkfirst=True)
    assert set(inspect(conn).get_table_names()) == before
    assert not inspect(conn).has_table("reviews")
engine.dispose()
