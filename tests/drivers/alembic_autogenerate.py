"""Alembic: autogenerate compares the models with what a ref shows, and finds no difference."""

import sys

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import ARRAY, CheckConstraint, Column, ForeignKey, Integer, MetaData, Numeric, Table, Text, create_engine, inspect, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
Table(
    "customers", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("credit", Numeric(12, 2), CheckConstraint("credit >= 0"), nullable=False, server_default=text("0")),
    Column("tags", ARRAY(Text)),
    Column("doc", JSONB),
)
Table(
    "orders", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("customer_id", Integer, ForeignKey("customers.id"), nullable=False),
    Column("total", Numeric(12, 2), nullable=False),
)


def differences(conn, models, **options):
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True, **options})
    return compare_metadata(context, models)


engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1))
with engine.connect() as conn:
    assert differences(conn, metadata) == [], differences(conn, metadata)
    # Nothing of ours in any schema.
    found = differences(conn, metadata, include_schemas=True)
    assert found == [], found
    assert set(inspect(conn).get_schema_names()) == {"information_schema", "public"}, inspect(conn).get_schema_names()

    # A difference that is there is found, and nothing else.
    changed = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["orders"].append_column(Column("note", Text))
    found = differences(conn, changed)
    assert [(d[0], d[3].name) for d in found] == [("add_column", "note")], found
    context = MigrationContext.configure(conn)
    code = render_python_code(produce_migrations(context, changed).upgrade_ops)
    assert "op.add_column('orders', sa.Column('note', sa.Text(), nullable=True))" in code, code
engine.dispose()
