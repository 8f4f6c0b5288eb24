"""PostgreSQL's own tests against us.

    run.py plain [--twice] [FILE…]       regression tests through main, compared with a direct run
    run.py branch [FILE…]                their statements on a branch
    run.py isolation [SPEC…]             the isolation tester's specs on a branch

Takes the server's programs from EPOCH_TEST_PG_BIN, the tests from EPOCH_REGRESS_SOURCE (run.sh fetches them) and the proxy from
EPOCH_BIN. Prints `N passed, N failed`; fails if one failed.
"""

import importlib
import os
import signal
import sys


def main():
    # Its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kind, *rest = sys.argv[1:] or ["plain"]
    if kind not in ("plain", "branch", "isolation"):
        raise SystemExit(__doc__)
    only = {one for one in rest if not one.startswith("--")}
    flags = {one.removeprefix("--"): True for one in rest if one.startswith("--")}
    module = importlib.import_module(kind)
    programs, source, binary = (os.environ[k] for k in ("EPOCH_TEST_PG_BIN", "EPOCH_REGRESS_SOURCE", "EPOCH_BIN"))
    passed = failed = 0
    for name, wrong in module.run(programs, source, os.path.abspath(binary), only, **flags):
        if wrong:
            failed += 1
            print(f"FAILED  {name}\n{wrong}")
        else:
            passed += 1
            print(f"ok      {name}")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
