"""Django: models over existing tables, transactions, locks, server-side cursors, inspectdb."""

import io
import sys
import types
from decimal import Decimal
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

# Relations are found through the application of their models.
shop = sys.modules["shop"] = types.ModuleType("shop")
shop.__path__ = ["shop"]

url = urlsplit(sys.argv[1])
settings.configure(
    INSTALLED_APPS=["shop"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password or "",
            "NAME": unquote(url.path[1:]),
            "OPTIONS": {"server_side_binding": True},
        }
    },
)
django.setup()

from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, connection, models, transaction  # noqa: E402
from django.db.models import Count, Exists, F, OuterRef, Q, Sum  # noqa: E402


class Customer(models.Model):
    id = models.IntegerField(primary_key=True)
    email = models.TextField(unique=True)
    name = models.TextField()
    credit = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    tags = ArrayField(models.TextField(), null=True)
    doc = models.JSONField(null=True)

    class Meta:
        app_label, managed, db_table = "shop", False, "customers"


class Order(models.Model):
    id = models.IntegerField(primary_key=True)
    customer = models.ForeignKey(Customer, models.CASCADE)
    total = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        app_label, managed, db_table = "shop", False, "orders"


def crud():
    base = Customer.objects.count()
    with transaction.atomic():
        customer = Customer.objects.create(id=4001, email="django@example.com", name="Django", tags=["x"], doc={"a": [1, None]})
        customer.refresh_from_db()
        assert (customer.credit, customer.tags, customer.doc) == (Decimal(0), ["x"], {"a": [1, None]}), customer.__dict__
        Customer.objects.filter(pk=4001).update(credit=F("credit") + 5)
        assert Customer.objects.get(doc__a__0=1).credit == 5
        Order.objects.bulk_create([Order(id=4100 + i, customer=customer, total=i) for i in range(30)])
        Order.objects.bulk_create(
            [Order(id=4100, customer=customer, total=100), Order(id=4200, customer=customer, total=1)],
            update_conflicts=True, unique_fields=["id"], update_fields=["total"],
        )
        found = Customer.objects.filter(pk=4001).annotate(n=Count("order"), spent=Sum("order__total")).get()
        assert (found.n, found.spent) == (31, Decimal(sum(range(30)) + 101)), (found.n, found.spent)
        assert Order.objects.select_related("customer").get(pk=4100).customer.name == "Django"
        assert Customer.objects.prefetch_related("order_set").get(pk=4001).order_set.count() == 31
        ordered = Order.objects.filter(customer=OuterRef("pk"))
        assert Customer.objects.filter(Exists(ordered), Q(pk=4001) | Q(pk=-1)).count() == 1
        locked = list(Order.objects.select_for_update().filter(customer_id=4001).order_by("pk")[:2])
        assert [o.pk for o in locked] == [4100, 4101], locked
        try:
            with transaction.atomic():
                Customer.objects.create(id=1, email="x", name="x")
            raise AssertionError("a key must hold")
        except IntegrityError as error:
            assert error.__cause__.sqlstate == "23505", error.__cause__
        made, created = Customer.objects.update_or_create(pk=4001, defaults={"name": "Changed"})
        assert (made.name, created) == ("Changed", False)
        assert Order.objects.filter(customer_id=4001, total__lt=5).delete()[0] == 5
        customer.delete()
        assert not Order.objects.filter(customer_id=4001).exists()
        transaction.set_rollback(True)
    assert Customer.objects.count() == base
    # A server-side cursor, WITH HOLD outside of a transaction.
    assert [c.pk for c in Customer.objects.order_by("pk").iterator(chunk_size=7)] == list(range(1, base + 1))


def introspection():
    with connection.cursor() as cursor:
        tables = connection.introspection.get_table_list(cursor)
        assert {t.name for t in tables} == {"customers", "orders"}, tables
        constraints = connection.introspection.get_constraints(cursor, "orders")
        foreign = [c["foreign_key"] for c in constraints.values() if c["foreign_key"]]
        assert foreign == [("customers", "id")], constraints
    out = io.StringIO()
    call_command("inspectdb", stdout=out)
    text = out.getvalue()
    assert "class Customers(models.Model):" in text and "class Orders(models.Model):" in text, text
    assert "customer = models.ForeignKey(Customers, models.DO_NOTHING)" in text, text
    assert "epoch" not in text and text.count("models.Model") == 2, text
    assert "Unable to inspect" not in text, text


crud()
introspection()
connection.close()
