"""The statements of PostgreSQL's regression tests on a branch, each compared with what PostgreSQL itself answers.

Tables of the tests are registered; a file runs on a branch of one database and directly on another. A statement may only be
refused (0A000) or answered alike. What was refused isn't run directly either, so that both sides stay alike; objects that can't
be made on a branch are made on main and directly.
"""

import collections
import concurrent.futures
import pathlib
import re

from cluster import Cluster, Proxy
from script import Script
from wire import Conn, Hung, Lost

FILES = """
    select select_into select_distinct select_distinct_on select_implicit select_having subselect union case join aggregates
    transactions portals portals_p2 arrays update delete insert insert_conflict returning with merge prepare plancache limit window
    copy copy2 copyselect copydml truncate groupingsets tsrf incremental_sort select_views combocid polymorphism functional_deps
""".split()

# What differs, and may: per file, patterns of statements with the reason, and of which kind the difference is if only one may be.
KNOWN = {
    "*": [
        (r"\bpg_(cursors|prepared_statements)\b", "they show what runs on the server, with the branch's relations"),
        (r"\bpg_relation_size\b", "of main's table"),
        (r"^create table \w+ as|\bINTO\s+(TABLE\s+)?sitmp1", "says which key the table gets (decision 22)"),
        (r"^drop table", "main's views and tables that depend on the table are no reason on a branch"),
        (r"^select tableoid::regclass", "a cast to regclass in the select list is a text where the branch has tables of its own (decision 29)", "types"),
    ],
    "aggregates": [(r"agg_hash_\d except", "the keys that the tables were given come in the order of the rows")],
    "insert": [
        (r"repeat\('a', 8126\)", "a row of a branch has two columns more"),
        (r"mlparted11", "data definition that isn't made on the branch"),
    ],
    "join": [(r"coalesce\(i\)", "a row as a whole is a record")],
    "insert_conflict": [
        (r"excluded\.\*::text", "shows the key that the table was given"),
        (r"\bparted_conflict", "data definition of partitions, which is refused on the way"),
    ],
    "copy2": [(r"check_con_function", "a function of the table's row type, which a version of the table doesn't have")],
    "update": [(r"upsert_test", "that a partition is missing is said by the merge")],
    "limit": [(r"^fetch|^declare", "whether a cursor can go back without SCROLL depends on its plan; after that, its transaction has failed")],
    "transactions": [(r"^EXECUTE test", "the message names the statement that was prepared")],
    "plancache": [(r"^EXECUTE prepstmt", "the position is one in another text")],
    "merge": [
        (r"USING target\s+ON tid = tid", "another message of PostgreSQL's"),
        (r"\b(new_)?measurement\b", "tables that inherit, which aren't registered"),
    ],
    "truncate": [(r"^TRUNCATE.*CASCADE", "doesn't tell which tables CASCADE reached")],
    "select_views": [(r"f_leak\(|^EXECUTE p[12]$", "the order in which conditions are evaluated is the plan's; the function tells what it sees", "notices")],
    "window": [(r"pg_temp\.f", "a temporary function of another session")],
}

TABLES = "onek onek2 tenk1 tenk2 int2_tbl int4_tbl int8_tbl float8_tbl text_tbl".split()

# Made on main if a branch can't.
MAKES = re.compile(
    r"\s*(CREATE\s+(OR\s+REPLACE\s+)?((TEMP|TEMPORARY|RECURSIVE|UNLOGGED)\s+)*"
    r"(TABLE|TYPE|DOMAIN|FUNCTION|PROCEDURE|OPERATOR|AGGREGATE|SEQUENCE|VIEW|MATERIALIZED|SCHEMA|CAST|COLLATION|ROLE|USER|EXTENSION)\b"
    r"|DROP\s+(FUNCTION|PROCEDURE|ROUTINE|OPERATOR|AGGREGATE|VIEW|SEQUENCE|DOMAIN|CAST)\b(?!.*\bCASCADE)|COMMENT\s+ON\s+FUNCTION)",
    re.I | re.S,
)
INTO = re.compile(r"\s*SELECT\b.*\bINTO\s+(?!TEMP)", re.I | re.S)
SETS = re.compile(r"\s*(SET|RESET)\s+(?!LOCAL|TRANSACTION|CONSTRAINTS|epoch)", re.I)
RELATIONS = (
    "SELECT c.oid::regclass::text, c.relkind, n.nspname || '.' || c.relname, EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND "
    "indisprimary) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND NOT relispartition AND "
    "relpersistence <> 't' AND nspname !~ '^(pg_|information_schema|epoch)' ORDER BY c.oid"
)


class Twin:
    """One file on both sides."""

    def __init__(self, name, source, plain, behind, proxy):
        self.name = name
        self.plain, self.behind, self.proxy = plain, behind, proxy
        self.script = Script((pathlib.Path(source) / "regress" / "sql" / f"{name}.sql").read_text())
        self.script.variables = {"abs_srcdir": str(behind.tests), "abs_builddir": str(behind.tests)}
        self.same = 0
        self.made = 0
        self.refused = collections.Counter()
        self.wrong = []
        self.known = 0
        self.sums = {}
        self.main = Conn(proxy.port, f"r_{name}")
        self.main.query(f"SELECT * FROM epoch_branch('{name}')")
        self.base = Conn(behind.port, f"r_{name}", name="base")
        self.connect()

    def connect(self):
        options = "-c intervalstyle=postgres_verbose -c statement_timeout=30000"
        self.direct = Conn(self.plain.port, f"r_{self.name}", options)
        self.branch = Conn(self.proxy.port, f"r_{self.name}/{self.name}", options)

    def run(self):
        try:
            for sql in TABLES:
                self.note(sql)
            while (item := self.script.next()) is not None:
                if item[0] == "sql":
                    self.statement(item[1], item[2])
                elif re.match(r"\\c(onnect)?\b", item[1]):
                    self.direct.close()
                    self.branch.close()
                    self.connect()
                elif setting := re.match(r"\\set\s+(\w+)\s+(.*)", item[1]):
                    self.set(setting.group(1), setting.group(2))
        except (Hung, Lost, OSError) as gone:
            self.wrong.append(("(session)", "", f"{type(gone).__name__}: {gone}"))
        for conn in (self.direct, self.branch):
            conn.close()
        for table, before in self.sums.items():
            now = self.sum(table)
            if now is not None and now != before:
                self.wrong.append((f"(table {table} of main)", str(before), str(now)))
        for conn in (self.main, self.base):
            conn.close()

    def set(self, name, value):
        value = re.sub(r":'?(\w+)'?", lambda m: self.script.variables.get(m.group(1), m.group(0)), value)
        self.script.variables[name] = "".join(p.strip("'") for p in re.findall(r"'[^']*'|[^\s']+", value))

    def sum(self, table):
        answer = self.base.query(f"SELECT count(*), sum(hashtext(t::text)::bigint) FROM {table} t")
        return None if answer.error else answer.results[0].rows[0]

    def note(self, table):
        if (now := self.sum(table)) is not None:
            self.sums[table] = now

    def statement(self, sql, meta):
        # A session has the role of the backend's URL; others have no rights on what branches are stored in.
        if re.match(r"(re)?set\s+(local\s+)?(session\s+)?(authorization|role)\b", sql, re.I):
            return
        data = None

        def lines():
            nonlocal data
            if data is None:
                data = self.script.copy_data()
            return data

        branch = self.branch.query(sql, lines)
        error = branch.error
        if error and is_refusal(error):
            self.refuse(sql, error)
            if data is None and re.match(r"copy\b.*\bfrom\s+stdin\b", sql, re.I | re.S):
                self.script.skip_copy_data()
            return
        direct = self.direct.query(sql, lines)
        self.compare(sql, direct, branch)
        if meta and meta.startswith("\\gset") and not direct.error and direct.results[0].rows:
            prefix = meta.removeprefix("\\gset").strip()
            for (column, _), value in zip(direct.results[0].columns, direct.results[0].rows[0]):
                self.script.variables[prefix + column] = value or ""
        if meta and meta.startswith("\\gexec") and not direct.error:
            for row in direct.results[0].rows:
                for cell in row:
                    self.statement(cell, None)
        if SETS.match(sql) and not branch.error:
            self.base.query(sql)

    def refuse(self, sql, error):
        what = re.sub(r'"[^"]*"|\w+\(\)', "…", error["M"])
        self.refused[what] += 1
        if self.direct.status != "I":
            self.direct.query("SELECT 1 / 0")
        elif (MAKES.match(sql) or INTO.match(sql)) and not re.search(r"\btemp(orary)?\b", sql, re.I):
            self.make(sql)

    def make(self, sql):
        """On main and directly; new tables are registered."""
        before = {row[0] for row in self.base.query(RELATIONS).results[0].rows}
        if self.base.query(sql).error:
            # It needs what is on the branch only.
            return
        if error := self.direct.query(sql).error:
            self.wrong.append((f"(on main) {sql}", str(error), "done"))
            return
        self.made += 1
        for table, _, name, key in [row for row in self.base.query(RELATIONS).results[0].rows if row[0] not in before]:
            if key != "t":
                alter = f"ALTER TABLE {table} ADD COLUMN kk bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
                if self.base.query(alter).error or self.direct.query(alter).error:
                    continue
            self.empty_if_different(table)
            quoted = name.replace("'", "''")
            registered = self.main.query(f"SELECT * FROM epoch_register('{quoted}')")
            if registered.error:
                self.refused["register: " + registered.error["M"]] += 1
            else:
                self.note(table)

    def empty_if_different(self, table):
        """What CREATE TABLE AS made of the branch's rows isn't what it made of main's."""
        count = f"SELECT count(*), sum(hashtext(t::text)::bigint) FROM {table} t"
        if self.base.query(count).results[0].rows != self.direct.query(count).results[0].rows:
            self.base.query(f"DELETE FROM {table}")
            self.direct.query(f"DELETE FROM {table}")

    def compare(self, sql, direct, branch):
        wrong = difference(sql, direct, branch)
        if not wrong:
            self.same += 1
        elif is_known(self.name, sql, wrong):
            self.known += 1
        else:
            self.wrong.append((f"[{wrong}] {sql}", direct.shown(), branch.shown()))


def is_known(name, sql, wrong):
    """Whether a difference of this kind may be there."""
    listed = KNOWN["*"] + KNOWN.get(name, [])
    return any(re.search(pattern, sql, re.I | re.S) and kind in ([], [wrong]) for pattern, _, *kind in listed)


def is_refusal(error):
    """Of ours: PostgreSQL has errors with this code, too."""
    if error["C"] == "0A000":
        return bool(re.search(" on a branch|is not supported$|cannot be versioned", error["M"]))
    # The latter: a table that inherits from it was made on main.
    return "has no usable key" in error["M"] or "in a way that branches cannot follow" in error["M"]


def difference(sql, direct, branch):
    """What is not alike; "" for nothing."""
    if re.match(r"explain\b", sql, re.I):
        return "" if bool(direct.error) == bool(branch.error) else "explain"
    if len(direct.results) != len(branch.results):
        return "results"
    said = [[(n.get("S"), n.get("C"), n.get("M"), n.get("D"), n.get("H")) for n in answer.notices] for answer in (direct, branch)]
    for left, right in zip(direct.results, branch.results):
        if left.error or right.error:
            parts = "CMDHstcdnP"
            if not left.error or not right.error:
                return "error"
            if left.error["C"] == right.error["C"] == "40001":
                # The detail says where it was noticed.
                parts = "CM"
            if left.error["C"] == right.error["C"] == "42601":
                # Where several tokens are the same, ours doesn't know which of them is meant.
                parts = parts.removesuffix("P")
            if left.error["C"] == right.error["C"] == "42P01" and "FROM-clause" in right.error["M"]:
                # The hint is about what the relation is called elsewhere.
                parts = "C"
            if changed := [p for p in parts if stable(left.error, p) != stable(right.error, p)]:
                return "error " + "".join(changed)
        if left.tag != right.tag:
            return "tag"
        # An error may come before the columns or after them.
        if (left.columns is None) != (right.columns is None) and not left.error:
            return "columns"
        if left.columns is not None and right.columns is not None:
            if [n for n, _ in left.columns] != [n for n, _ in right.columns]:
                return "names"
            if any(a != b and min(a, b) < 16384 for (_, a), (_, b) in zip(left.columns, right.columns)):
                return "types"
        if left.rows != right.rows:
            if sorted(map(str, left.rows)) != sorted(map(str, right.rows)):
                return "rows"
            if out_of_order(sql, left, right):
                return "order"
    return "notices" if said[0] != said[1] else ""


def out_of_order(sql, left, right):
    """Whether what the outermost ORDER BY names comes in another order; rows that are equal in it may."""
    found = re.search(r"order\s+by\s+([^()]*?)(\s+(limit|offset|fetch|for)\b[^()]*)?$", sql, re.I)
    if not found or not left.columns or re.match(r"copy|fetch", sql, re.I):
        return False
    names = [name for name, _ in left.columns]
    for item in found.group(1).split(","):
        name = re.sub(r"\s+(asc|desc|using|nulls|collate)\b.*", "", item.strip(), flags=re.I | re.S).strip().split(".")[-1].strip('"')
        place = int(name) - 1 if name.isdigit() else names.index(name) if names.count(name) == 1 else None
        if place is None or place >= len(names):
            return False
        if [row[place] for row in left.rows] != [row[place] for row in right.rows]:
            return True
    return False


def stable(error, part):
    """A part of an error, without what is another number each time: processes, objects, schemas of temporary tables."""
    text = error.get(part)
    if text and error["C"] == "40P01":
        return re.sub(r"\d+", "N", text)
    return re.sub(r"pg_temp_\d+", "pg_temp", text) if text else text


def one(name, source, plain, behind, binary):
    for cluster in (plain, behind):
        cluster.create(f"r_{name}", "regression")
    with Proxy(behind, binary, f"r_{name}") as proxy:
        conn = Conn(proxy.port, f"r_{name}")
        for table in TABLES:
            if error := conn.query(f"SELECT * FROM epoch_register('{table}')").error:
                raise SystemExit(f"{table}: {error}")
        conn.close()
        twin = Twin(name, source, plain, behind, proxy)
        twin.run()
    for cluster in (plain, behind):
        cluster.sql("postgres", f"DROP DATABASE r_{name} WITH (FORCE)")
    return twin


def run(programs, source, binary, only=None, **_):
    names = [name for name in FILES if (not only or name in only) and (pathlib.Path(source) / "regress" / "sql" / f"{name}.sql").exists()]
    refused = collections.Counter()
    with Cluster(programs, source) as plain, Cluster(programs, source) as behind, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for cluster in (plain, behind):
            cluster.psql(cluster.port, pathlib.Path(source) / "regress" / "sql" / "test_setup.sql")
            cluster.sql("regression", (pathlib.Path(__file__).parent / "setup.sql").read_text())
        for twin in pool.map(lambda name: one(name, source, plain, behind, binary), names):
            refused.update(twin.refused)
            text = "\n".join(f"--- {sql}\n  direct: {left}\n  branch: {right}" for sql, left, right in twin.wrong)
            yield (f"{twin.name}: {twin.same} alike, {sum(twin.refused.values())} refused, {twin.made} made on main, "
                   f"{twin.known} known to differ, {len(twin.wrong)} wrong"), text
    print("most refused:")
    for what, count in refused.most_common(40):
        print(f"{count:6} {what}")
