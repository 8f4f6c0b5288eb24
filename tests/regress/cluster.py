"""Servers of the tests' own, and proxies in front of them. All of it is gone with the value."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

# What pg_regress sets for its sessions.
SETTINGS = {
    "PGTZ": "PST8PDT",
    "PGDATESTYLE": "Postgres, MDY",
    "PGOPTIONS": "-c intervalstyle=postgres_verbose",
    "PGAPPNAME": "pg_regress",
    "LC_MESSAGES": "C",
}


def as_server(command):
    """root must not run PostgreSQL: then it runs as Debian's user."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] + command


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """One server, with an empty database `regression`."""

    def __init__(self, programs, source):
        self.programs = pathlib.Path(programs)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="epoch-regress-"))
        self.folder.chmod(0o755)
        # The server reads files of the tests; the clone may be where its user can't go.
        self.tests = self.folder / "regress"
        (self.tests / "results").mkdir(parents=True)
        shutil.copytree(pathlib.Path(source) / "regress" / "data", self.tests / "data")
        if os.geteuid() == 0:
            for path in [self.folder, self.tests, self.tests / "results"]:
                shutil.chown(path, "postgres")
        self.run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", self.data)
        self.started = False
        self.start()
        self.create("regression")

    def create(self, database, template="template0"):
        """A database as pg_regress makes it."""
        self.sql("postgres", f"CREATE DATABASE {database} TEMPLATE {template} LC_COLLATE 'C' LC_CTYPE 'C'")
        settings = [f"{name} TO 'C'" for name in ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")]
        settings += ["bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'"]
        self.sql("postgres", "; ".join(f"ALTER DATABASE {database} SET {setting}" for setting in settings))

    @property
    def data(self):
        return str(self.folder / "data")

    def run(self, program, *arguments):
        command = as_server([str(self.programs / program), *map(str, arguments)])
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise SystemExit(f"{program}: {done.stdout}{done.stderr}")

    def start(self):
        settings = (
            "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c shared_buffers=64MB "
            "-c autovacuum=off -c max_prepared_transactions=20 -c max_connections=60 -c log_min_messages=fatal "
            "-c log_statement=none -c jit=off"
        )
        for _ in range(5):
            self.port = free_port()
            command = as_server([str(self.programs / "pg_ctl"), "-s", "-w", "-D", self.data, "-l", str(self.folder / "data/log")])
            done = subprocess.run(
                command + ["-o", f"-p {self.port} {settings}", "start"], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, timeout=120, check=False,
            )
            if done.returncode == 0:
                self.started = True
                return
        raise SystemExit("PostgreSQL doesn't start: " + (self.folder / "data/log").read_text())

    def sql(self, database, sql):
        """Directly, as the superuser."""
        done = subprocess.run(
            [self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres",
             "-d", database, "-c", sql],
            capture_output=True, text=True, timeout=120, check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{sql}: {done.stderr}")
        return done.stdout

    def psql(self, port, script, database="regression", timeout=300):
        """The output of a script as pg_regress would see it."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
        environment |= SETTINGS | {
            "PG_ABS_SRCDIR": str(self.tests), "PG_ABS_BUILDDIR": str(self.tests), "PG_LIBDIR": str(self.tests), "PG_DLSUFFIX": ".so",
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres",
        }
        command = [self.programs / "psql", "-X", "-a", "-q", "-d", database, "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
        with open(script, "rb") as statements:
            try:
                done = subprocess.run(
                    command, stdin=statements, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=timeout,
                    cwd=self.tests, check=False,
                )
            except subprocess.TimeoutExpired as late:
                return (late.stdout or b"").decode("latin-1") + f"\nTIMEOUT after {timeout} s\n"
        return done.stdout.decode("latin-1").replace(str(self.folder), "FOLDER")

    def close(self):
        if self.started:
            subprocess.run(
                as_server([str(self.programs / "pg_ctl"), "-s", "-m", "immediate", "-D", self.data, "stop"]),
                cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False,
            )
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Proxy:
    """`epoch serve` in front of a cluster's database; the repository has the database's name."""

    def __init__(self, cluster, binary, database="regression"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="epoch-regress-proxy-"))
        config = self.folder / "epoch.toml"
        config.write_text(
            f'[repository]\nname = "{database}"\n[proxy]\nlisten = "127.0.0.1:0"\n'
            f'[metadata]\nurl = "sqlite://{self.folder}/meta.db"\n[storage.postgres.main]\n'
            f'url = "postgresql://postgres@127.0.0.1:{cluster.port}/{database}"\nallow_unsafe_source = true\n'
        )
        environment = {k: v for k, v in os.environ.items() if k not in ("EPOCH_CONFIG_FILE", "EPOCH_FAILPOINT")}
        self.log = open(self.folder / "log", "w+")
        self.process = subprocess.Popen(
            [str(binary), "serve", "--config", str(config)], stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
            cwd=self.folder,
        )
        for line in self.process.stdout:
            if line.startswith("ready: "):
                self.port = int(line.rsplit(":", 1)[1].split("/")[0])
                return
        raise SystemExit("epoch serve did not get ready: " + (self.folder / "log").read_text())

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
