"""SQLAlchemy 2: reflection, ORM session, relationships, savepoints, bulk insert, server errors."""

import sys

from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1))

inspector = inspect(engine)
# Nothing of ours is in a schema of the user's.
assert set(inspector.get_table_names()) == {"customers", "orders"}, inspector.get_table_names()
assert inspector.get_pk_constraint("customers")["constrained_columns"] == ["id"]
assert inspector.get_foreign_keys("orders")[0]["referred_table"] == "customers"
assert {i["name"] for i in inspector.get_unique_constraints("customers")} == {"customers_email_key"}

Base = automap_base()
Base.prepare(autoload_with=engine)
Customer, Order = Base.classes.customers, Base.classes.orders

with Session(engine) as session:
    base = session.scalar(select(func.count()).select_from(Customer))
    session.add(Customer(id=7001, email="orm@example.com", name="Orm", orders_collection=[Order(id=7001, total=5)]))
    session.flush()
    got = session.execute(select(Customer.name, func.sum(Order.total)).join(Order).where(Customer.id == 7001).group_by(Customer.name)).one()
    assert got[0] == "Orm" and got[1] == 5, got
    found = session.get(Customer, 7)
    found.name = "Changed by the ORM"
    session.flush()
    session.expire(found)
    assert found.name == "Changed by the ORM"
    try:
        with session.begin_nested():
            session.add(Customer(id=1, email="x", name="x"))
            session.flush()
        raise AssertionError("a key must hold")
    except IntegrityError as error:
        assert error.orig.sqlstate == "23505"
    session.execute(Order.__table__.insert(), [{"id": 7100 + i, "customer_id": 1, "total": i} for i in range(50)])
    assert session.scalar(select(func.count()).select_from(Order).where(Order.id >= 7100)) == 50
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Customer)) == base
    assert session.scalar(text("SELECT epoch_active_branch()")) in ("main", "drivers/branch")
engine.dispose()
