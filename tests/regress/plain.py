"""PostgreSQL's regression tests through main: what psql prints must be what it prints without us.

Two fresh servers get the same files in the same order, one directly, one through the proxy.
"""

import concurrent.futures
import difflib
import pathlib
import re
import time

from branch import TABLES
from cluster import Cluster, Proxy
from wire import Conn

# Files that say nothing about us, each with the reason.
LEFT_OUT = {
}

# What two direct runs print differently (`run.py plain --twice` shows it), file by file.
DIFFERENT = {
}

# What is inherent in a proxy, file by file: pairs of pattern and replacement for both outputs.
# A catalog is read with a condition that leaves our objects out (decision 13): EXPLAIN shows it.
OURS = (r"^.*epoch.*\n|^ *InitPlan \d \(returns \$\d\)\n| AND \(pronamespace <> ALL \(\$\d\)\)|^-+$\n|^ +QUERY PLAN +$\n|^\(\d+ rows\)\n|[()]|pg_proc\.", "")
INHERENT = {
    "regex": [OURS],
    "btree_index": [OURS],
}


def files_of(source):
    """The files of the schedule, in its order."""
    schedule = (pathlib.Path(source) / "regress" / "parallel_schedule").read_text()
    return [name for line in schedule.splitlines() if line.startswith("test:") for name in line.split()[1:]]


def normalised(name, output):
    for pattern, replacement in DIFFERENT.get(name, []) + INHERENT.get(name, []):
        output = re.sub(pattern, replacement, output, flags=re.M)
    return output


def prepare(cluster, port):
    """Keys for the tables of test_setup; through the proxy, they are registered then."""
    cluster.sql("regression", (pathlib.Path(__file__).parent / "setup.sql").read_text())
    if port != cluster.port:
        conn = Conn(port, "regression")
        for table in TABLES:
            if error := conn.query(f"SELECT * FROM epoch_register('{table}')").error:
                raise SystemExit(f"{table}: {error}")
        conn.close()


def run(programs, source, binary, only=None, twice=False, registered=False):
    """Yields a name and what is different, "" for nothing. `twice`: both directly. `registered`: after the first file, its tables
    are registered."""
    names = [name for name in files_of(source) if name not in LEFT_OUT]
    if only:
        names = ["test_setup"] + [name for name in names if name in only and name != "test_setup"]
    lines = 0
    with Cluster(programs, source) as plain, Cluster(programs, source) as behind, Proxy(behind, binary) as proxy:
        port = behind.port if twice else proxy.port
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name in names:
                script = pathlib.Path(source) / "regress" / "sql" / f"{name}.sql"
                begun = time.monotonic()
                direct = pool.submit(plain.psql, plain.port, script)
                through = pool.submit(behind.psql, port, script)
                left, right = normalised(name, direct.result()), normalised(name, through.result())
                lines += left.count("\n")
                diff = difflib.unified_diff(left.splitlines(), right.splitlines(), "direct", "through us", lineterm="", n=3)
                yield f"{name} ({time.monotonic() - begun:.1f} s)", "" if left == right else "\n".join(diff)
                if name == "test_setup" and registered:
                    for cluster, where in ((plain, plain.port), (behind, port)):
                        prepare(cluster, where)
    print(f"{lines} lines compared")
