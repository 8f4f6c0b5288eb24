"""Runs each driver's script on main and on a branch, and counts."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import psycopg

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL,
                        credit numeric(12,2) NOT NULL DEFAULT 0 CHECK (credit >= 0), tags text[], doc jsonb);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id), total numeric(12,2) NOT NULL);
INSERT INTO customers SELECT g, 'c' || g || '@example.com', 'Customer ' || g, g, ARRAY['a','b'], '{"k": 1}' FROM generate_series(1, 100) g;
INSERT INTO orders SELECT g, 1 + g % 50, g * 1.5 FROM generate_series(1, 200) g;
"""


class Own:
    """A database and a proxy of our own, gone at the end."""

    def __init__(self, server):
        self.server = server
        self.dbname = f"epoch_drivers_{os.getpid()}"
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {self.dbname} TEMPLATE template0")
        info = psycopg.conninfo.conninfo_to_dict(server) | {"dbname": self.dbname}
        backend = "postgresql://{user}{password}@{host}:{port}/{dbname}".format(
            **{"user": "postgres", "host": "127.0.0.1", "port": "5432"} | info
            | {"password": f":{info['password']}" if info.get("password") else ""}
        )
        with psycopg.connect(backend, autocommit=True) as conn:
            conn.execute(SCHEMA)
        self.dir = tempfile.mkdtemp(prefix="epoch-drivers-")
        config = pathlib.Path(self.dir, "epoch.toml")
        config.write_text(
            f'[repository]\nname = "shop"\n[proxy]\nlisten = "127.0.0.1:0"\n'
            f'[metadata]\nurl = "sqlite://{self.dir}/meta.db"\n[storage.postgres.main]\nurl = "{backend}"\n'
            "allow_unsafe_source = true\n"
        )
        binary = os.environ.get("EPOCH_BIN", str(ROOT / "target/debug/epoch"))
        self.proxy = subprocess.Popen(
            [binary, "serve", "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.proxy.stdout:
            if line.startswith("ready: "):
                self.main = line.removeprefix("ready: ").strip().replace("//", "//postgres@", 1)
                break
        else:
            raise SystemExit("epoch serve did not get ready")
        with psycopg.connect(self.main, autocommit=True) as conn:
            conn.execute("SELECT * FROM epoch_register('public.*')").fetchall()
            conn.execute("SELECT * FROM epoch_branch('drivers/branch')").fetchall()

    def close(self):
        self.proxy.terminate()
        try:
            self.proxy.wait(20)
        except subprocess.TimeoutExpired:
            self.proxy.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
        with psycopg.connect(self.server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {self.dbname} WITH (FORCE)")


def python_scripts():
    names = ("psycopg3.py", "asyncpg_crud.py", "sqlalchemy_orm.py", "alembic_autogenerate.py", "django_orm.py")
    return [[sys.executable, str(HERE / name)] for name in names]


def node_scripts():
    """Those whose modules run.sh could install."""
    modules = pathlib.Path(os.environ.get("NODE_PATH", "."))
    found = []
    for script, module in (("node_pg.js", "pg"), ("knex_builder.js", "knex"), ("prisma/prisma.js", "@prisma/adapter-pg")):
        if not shutil.which("node") or not (modules / module).exists():
            print(f"skipped: {script} (no node, no npm, or {module} can't be installed)")
        elif script.startswith("prisma") and not pathlib.Path(os.environ.get("EPOCH_PRISMA_CLIENT", "."), "index.js").exists():
            print(f"skipped: {script} (its client can't be generated)")
        else:
            found.append(["node", str(HERE / script)])
    return found


def java_scripts():
    """Jdbc.java, compiled by run.sh into EPOCH_JAVA_CLASSES."""
    classes = pathlib.Path(os.environ.get("EPOCH_JAVA_CLASSES", "."))
    if not shutil.which("java") or not (classes / "Jdbc.class").exists():
        print("skipped: Jdbc.java (no JDK, or libpostgresql-jdbc-java isn't installed)")
        return []
    path = os.pathsep.join([str(classes), os.environ["EPOCH_JDBC"]])
    return [["java", "-XX:TieredStopAtLevel=1", "-cp", path, "Jdbc"]]


def main():
    own = None
    if len(sys.argv) > 1:
        main_url = sys.argv[1]
        branch_url = sys.argv[2] if len(sys.argv) > 2 else f"{main_url}/drivers/branch"
    elif server := os.environ.get("EPOCH_TEST_POSTGRES_URL"):
        own = Own(server)
        main_url, branch_url = own.main, f"{own.main}/drivers/branch"
    else:
        print("skipped: set EPOCH_TEST_POSTGRES_URL or run make test")
        return 0

    scripts = python_scripts() + node_scripts() + java_scripts()
    passed = failed = 0
    try:
        for script in scripts:
            for where, url in (("main", main_url), ("branch", branch_url)):
                run = subprocess.run(script + [url], capture_output=True, text=True, timeout=120)
                name = f"{pathlib.Path(script[-1]).name} on {where}"
                if run.returncode == 0:
                    passed += 1
                    print(f"ok      {name}")
                else:
                    failed += 1
                    print(f"FAILED  {name}\n{run.stdout}{run.stderr}")
    finally:
        if own:
            own.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
