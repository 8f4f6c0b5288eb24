"""The specs of PostgreSQL's isolation tester on a branch: who waits for whom, who is done when, and with what, must be what
PostgreSQL itself does with the tables.

A spec's tables are made and registered on main, and each permutation runs on a branch of its own: once where the branch has no
row yet ("cold"), once where all rows are the branch's own ("warm"). A step that is refused (0A000) ends a permutation.
"""

import collections
import concurrent.futures
import itertools
import pathlib
import time

from branch import RELATIONS, difference, is_refusal
from cluster import Cluster, Proxy
from spec import Spec
from wire import Answer, Conn, Hung, Lost, Result

# Specs that say nothing about branches, each with the reason.
LEFT_OUT = {
    "multiple-row-versions": "a table of 1,000,000 rows, only for its pages",
    "ri-trigger": "foreign keys by the user's triggers, which don't run on a branch",
    "stats": "statistics of tables and functions",
    "horizons": "what VACUUM may take away",
    "timeouts": "measures time",
    "detach-partition-concurrently-1": "all of it is data definition", "detach-partition-concurrently-2": "the same",
    "detach-partition-concurrently-3": "the same", "detach-partition-concurrently-4": "the same",
    "inherit-temp": "tables that inherit, which can't be registered",
    "fk-partitioned-1": "data definition of partitions", "fk-partitioned-2": "the same",
    "reindex-concurrently": "data definition", "reindex-concurrently-toast": "the same", "reindex-schema": "the same",
    "drop-index-concurrently-1": "the same", "multiple-cic": "the same", "alter-table-1": "the same", "alter-table-2": "the same",
    "alter-table-3": "the same", "alter-table-4": "the same", "create-trigger": "the same", "sequence-ddl": "the same",
    "vacuum-no-cleanup-lock": "VACUUM", "vacuum-concurrent-drop": "the same", "vacuum-conflict": "the same", "vacuum-skip-locked": "the same",
    "cluster-conflict": "CLUSTER", "cluster-conflict-partition": "the same", "partition-concurrent-attach": "data definition of partitions",
    "partition-drop-index-locking": "the same", "inplace-inval": "catalogs", "intra-grant-inplace": "the same",
    "intra-grant-inplace-db": "the same", "temp-schema-cleanup": "temporary tables",
}

# What differs, and may: per spec the runs, the steps in which a difference may begin, and the reason.
KNOWN = {
    "insert-conflict-do-update-3": ("cold", "insert1", "what is copied up waits before the statement begins, whose snapshot is taken then"),
    "eval-plan-qual": ("cold", "readforss", "the same"),
    "fk-snapshot": (
        "both", "s1ifp2 s2c",
        "errors name the partitioned table, not the partition; and of a partitioned parent PostgreSQL sees a row that is newer than "
        "the snapshot, which the spec calls a bug",
    ),
    "lock-committed-keyupdate": ("cold", "s2l", "what is copied up waits before the statement takes its advisory lock, and fails there"),
    "nowait-2": ("cold", "s1a s2a", "the second FOR SHARE of a row of main would wait for the first"),
    "skip-locked": ("cold", "s1a s2a", "a second query of a transaction copies up a row that it doesn't take (decision 17)"),
    "skip-locked-2": ("cold", "s1a s2a", "the second FOR SHARE of a row of main would wait for the first, or the same as above"),
    "partition-key-update-1": ("both", "s2u2", "a trigger of the user's moves the row on, which doesn't run on a branch"),
    "truncate-conflict": ("both", "s2_truncate", "another role is told that it can't reach versioned tables"),
    "partition-key-update-3": ("cold", "s2donothing", "a key that another transaction took away since the snapshot is to be tried again (40001)"),
}

# Of a row that left its partition PostgreSQL doesn't know where it is; on a branch a partitioned table is one.
MOVED = "tuple to be locked was already moved to another partition due to concurrent update"

PATIENCE = 30

# Longer than a deadlock takes to be noticed: sessions that all wait so long wait for a step that can't begin.
STUCK = 3

# What puts sequences where they are.
SEQUENCES = (
    "SELECT format('SELECT setval(%L, %s, %L)', format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), "
    "last_value IS NOT NULL) FROM pg_sequences WHERE schemaname !~ '^epoch'"
)

# Of the orders of a spec, spread over all of them.
MOST_ORDERS = 12


class Side:
    """The sessions of one run, directly or on a branch."""

    def __init__(self, spec, port, database, watch):
        self.spec = spec
        self.watch = watch
        self.events = []
        self.refused = None
        self.conns = []
        for session in spec.sessions:
            self.conns.append(Conn(port, database, "-c statement_timeout=0", f"isolation/{session.name}", PATIENCE))
        self.pids = [conn.query("SELECT pg_backend_pid()").results[0].rows[0][0] for conn in self.conns]
        self.busy = {}
        self.active = []

    def run(self, order):
        for conn, session in zip(self.conns, self.spec.sessions):
            conn.said.clear()
            if session.setup:
                self.report(f"setup of {session.name}", conn.query(session.setup))
        for placed in order:
            if self.refused:
                return
            self.launch(placed)
        until = time.monotonic() + STUCK
        while self.active and not self.refused:
            if self.retry():
                until = time.monotonic() + STUCK
            if time.monotonic() > until:
                raise Hung(f"{self.active[0].step.name} waits for ever")

    def launch(self, placed):
        number = placed.step.session
        conn = self.conns[number]
        until = time.monotonic() + STUCK
        while any(one.step.session == number for one in self.active):
            if self.retry():
                until = time.monotonic() + STUCK
            if time.monotonic() > until:
                raise Hung(f"{placed.step.name} can't begin")
        placed.seen = {name: len(self.conns[self.spec.steps[name].session].said) for name, _ in self.others(placed)}
        placed.waits = False
        placed.answer = None
        conn.send(placed.step.sql)
        if not self.complete(placed, "*" in placed.markers):
            placed.waits = True
            self.events.append((placed.step.name, "waits", None))
            self.active.append(placed)
        self.retry()

    @staticmethod
    def others(placed):
        return [marker for marker in placed.markers if marker != "*"]

    def retry(self):
        """Looks after the steps that wait; whether one of them is done."""
        done, again = False, True
        while again and not self.refused:
            again = False
            for placed in list(self.active):
                if self.complete(placed, False):
                    self.active.remove(placed)
                    done = again = True
        return done

    def complete(self, placed, waiting_at_once):
        """Whether the step is done, and reported."""
        conn = self.conns[placed.step.session]
        if waiting_at_once:
            return False
        until = time.monotonic() + PATIENCE
        while placed.answer is None:
            if conn.poll(0.01):
                placed.answer = conn.last
            elif self.blocked(placed.step.session):
                # For a moment it waits with NOWAIT and SKIP LOCKED, too (decision 17).
                if placed.waits or (not conn.poll(0.02) and self.blocked(placed.step.session)):
                    return False
            elif time.monotonic() > until:
                raise Hung(f"{placed.step.name} neither waits nor ends")
        for name, notices in self.others(placed):
            if notices is None and any(one.step.name == name and one is not placed for one in self.active):
                return False
            if notices is not None and len(self.conns[self.spec.steps[name].session].said) - placed.seen[name] < notices:
                return False
        self.report(placed.step.name, placed.answer)
        return True

    def blocked(self, number):
        pids = ",".join(self.pids)
        answer = self.watch.query(f"SELECT pg_catalog.pg_isolation_test_session_is_blocked({self.pids[number]}, '{{{pids}}}')")
        return answer.results[0].rows[0][0] == "t"

    def report(self, name, answer):
        self.events.append((name, "done", answer))
        if answer.error and is_refusal(answer.error):
            self.refused = answer.error

    def close(self, teardown):
        for conn, session in zip(self.conns, self.spec.sessions):
            if teardown and session.teardown and conn.answer is None:
                try:
                    conn.query(session.teardown)
                except (Hung, Lost, OSError):
                    pass
            conn.close()
        # The sessions' transactions have to be gone before tables are dropped.
        pids = ",".join(self.pids)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            left = self.watch.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({pids})")
            if not left.results[0].rows:
                return
            time.sleep(0.01)


class Trial:
    """One spec."""

    def __init__(self, name, source, plain, behind, binary):
        self.name = name
        self.database = "i_" + name.replace("-", "_")
        self.spec = Spec((pathlib.Path(source) / "isolation" / "specs" / f"{name}.spec").read_text())
        self.plain, self.behind, self.binary = plain, behind, binary
        text = " ".join(self.spec.setup + [session.setup for session in self.spec.sessions]).upper()
        self.serializable = "SERIALIZABLE" in text
        self.triggers = "CREATE TRIGGER" in text
        self.counts = collections.Counter()
        self.refused = collections.Counter()
        self.wrong = []

    def run(self):
        begun = time.monotonic()
        for cluster in (self.plain, self.behind):
            cluster.create(self.database)
        with Proxy(self.behind, self.binary, self.database) as proxy:
            self.direct = Conn(self.plain.port, self.database, timeout=PATIENCE)
            self.base = Conn(self.behind.port, self.database, timeout=PATIENCE)
            self.main = Conn(proxy.port, self.database, timeout=PATIENCE)
            self.proxy = proxy
            try:
                if self.prepare():
                    orders = self.spec.permutations
                    step = max(1, len(orders) / MOST_ORDERS)
                    for number in sorted({int(i * step) for i in range(min(len(orders), MOST_ORDERS))}):
                        order = orders[number]
                        for warm in (False, True):
                            self.permutation(number, order, warm)
            except (Hung, Lost, OSError, ValueError) as gone:
                self.wrong.append(f"{type(gone).__name__}: {gone}")
            for conn in (self.direct, self.base, self.main):
                conn.close()
        for cluster in (self.plain, self.behind):
            cluster.sql("postgres", f"DROP DATABASE {self.database} WITH (FORCE)")
        self.seconds = time.monotonic() - begun
        return self

    def setup(self, conn):
        """The tables, with keys. Their names."""
        for sql in self.spec.setup:
            if error := conn.query(sql).error:
                self.refused[f"setup: {error['M']}"] += 1
                return None
        tables = []
        for table, kind, name, key in conn.query(RELATIONS).results[0].rows:
            if key != "t" and (error := conn.query(self.key(conn, table, kind)).error):
                self.refused[f"key: {error['M']}"] += 1
                continue
            tables.append((table, name))
        return tables

    @staticmethod
    def key(conn, table, kind):
        """What gives a table a key. One of a partitioned table has the columns that say which partition a row is in."""
        if kind != "p":
            return f"ALTER TABLE {table} ADD COLUMN kk bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
        parts = conn.query(f"SELECT substring(pg_get_partkeydef('{table}'::regclass) FROM '\\((.*)\\)')").results[0].rows[0][0]
        return (f"CREATE SEQUENCE IF NOT EXISTS kk_{table}; ALTER TABLE {table} ADD COLUMN kk bigint NOT NULL DEFAULT nextval('kk_{table}'); "
                f"ALTER TABLE {table} ADD PRIMARY KEY (kk, {parts})")

    def prepare(self):
        self.tables = self.setup(self.base)
        if self.tables is None:
            return False
        for _, name in self.tables:
            quoted = name.replace("'", "''")
            if error := self.main.query(f"SELECT * FROM epoch_register('{quoted}')").error:
                self.refused["register: " + error["M"]] += 1
        self.sequences = self.base.query(SEQUENCES).results[0].rows
        return True

    def rewind(self):
        """A branch shares the sequences of main, which aren't made anew for each permutation."""
        for (sql,) in self.sequences:
            self.base.query(sql)

    def permutation(self, number, order, warm):
        name = f"p{number}{'w' if warm else 'c'}"
        self.rewind()
        self.main.query(f"SELECT * FROM epoch_branch('{name}')")
        if warm:
            conn = Conn(self.proxy.port, f"{self.database}/{name}", timeout=PATIENCE)
            for table, _ in self.tables:
                conn.query(f"SELECT 1 FROM {table} FOR UPDATE")
            conn.close()
        branch = self.side(self.proxy.port, f"{self.database}/{name}", self.base, order)
        self.main.query(f"SELECT * FROM epoch_branch('-D', '{name}')")
        if branch.refused:
            self.refused[branch.refused["M"]] += 1
            self.counts["refused"] += 1
            return
        self.setup(self.direct)
        direct = self.side(self.plain.port, self.database, self.direct, order)
        for sql in self.spec.teardown:
            self.direct.query(sql)
        kind, steps, text = self.compare(direct, branch)
        runs, known, _ = KNOWN.get(self.name, ("", "", ""))
        if not kind:
            self.counts["alike"] += 1
        elif runs in ("both", "warm" if warm else "cold") and steps & set(known.split()):
            self.counts["known to differ"] += 1
        elif kind in ("fails to be tried again", "goes on") or (kind == "waits longer" and not warm):
            # A copy-up holds the key of a row of main until the transaction ends; SERIALIZABLE may be stricter than it must.
            self.counts[kind] += 1
        else:
            names = " ".join(one.step.name for one in order)
            self.wrong.append(f"--- {'warm' if warm else 'cold'}: {names}: {kind} in {' or '.join(sorted(steps))}\n{text}")

    def side(self, port, database, watch, order):
        side = Side(self.spec, port, database, watch)
        try:
            side.run(order)
        except Hung as hung:
            side.events.append((str(hung), "hung", None))
        side.close(not side.refused)
        return side

    def compare(self, direct, branch):
        """Of which kind the first difference is, the steps that it is in, and all of it."""
        pairs = list(itertools.zip_longest(direct.events, branch.events, fillvalue=("", "nothing", None)))
        first = next((pair for pair in pairs if not self.alike(*pair)), None)
        if first is None:
            return "", set(), ""
        left, right = first
        kind = "wrong"
        waiting = {name for name, what, _ in branch.events[:pairs.index(first)] if what == "waits"}
        if left[1] == "done" and (right[1] == "waits" or (left[0] in waiting and left[0] != right[0])):
            kind = "waits longer"
        if right[2] and right[2].error and right[2].error["C"] == "40001" and self.serializable:
            kind = "fails to be tried again"
        if left[0] == right[0] and left[2] and left[2].error and left[2].error["M"] == MOVED and not (right[2] and right[2].error):
            kind = "goes on"

        def shown(side):
            return "\n".join(f"    {name}: {what}" + (f" {answer.shown()}" if answer else "") for name, what, answer in side.events)

        return kind, {left[0], right[0]} - {""}, f"  direct:\n{shown(direct)}\n  branch:\n{shown(branch)}"

    def alike(self, left, right):
        if left[:2] != right[:2]:
            return False
        if not left[2]:
            return True
        step = self.spec.steps.get(left[0])
        answers = [self.comparable(answer) for answer in (left[2], right[2])]
        return not difference(step.sql if step else "", *answers)

    def comparable(self, answer):
        """Without plans, without the keys that tables were given for the test, and without what the user's triggers say."""
        results = []
        for result in answer.results:
            names = [name for name, _ in result.columns or []]
            if names == ["QUERY PLAN"]:
                continue
            if "kk" in names:
                keep = [i for i, name in enumerate(names) if name != "kk"]
                copy = Result()
                copy.tag, copy.error, copy.copied = result.tag, result.error, result.copied
                copy.columns = [result.columns[i] for i in keep]
                copy.rows = [[row[i] for i in keep] for row in result.rows]
                result = copy
            results.append(result)
        comparable = Answer()
        comparable.results = results
        comparable.notices = [] if self.triggers else answer.notices
        return comparable


def specs_of(source):
    schedule = (pathlib.Path(source) / "isolation" / "isolation_schedule").read_text()
    return [line.split()[1] for line in schedule.splitlines() if line.startswith("test:")]


def run(programs, source, binary, only=None, **_):
    names = [name for name in specs_of(source) if name not in LEFT_OUT and (not only or name in only)]
    refused = collections.Counter()
    with Cluster(programs, source) as plain, Cluster(programs, source) as behind, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for trial in pool.map(lambda name: Trial(name, source, plain, behind, binary).run(), names):
            refused.update(trial.refused)
            counts = ", ".join(f"{count} {what}" for what, count in sorted(trial.counts.items()))
            yield f"{trial.name} ({trial.seconds:.1f} s): {counts}, {len(trial.wrong)} wrong", "\n".join(trial.wrong)
    print("most refused:")
    for what, count in refused.most_common(40):
        print(f"{count:6} {what}")
