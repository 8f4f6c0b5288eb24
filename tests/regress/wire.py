"""A client of PostgreSQL's protocol that shows everything a server answers. Simple queries only."""

import select
import socket
import struct
import time


class Hung(Exception):
    """No answer in time."""


class Lost(Exception):
    """The connection ended."""


class Result:
    """What one statement of a query answered."""

    def __init__(self):
        self.columns = None
        self.rows = []
        self.tag = None
        self.error = None
        self.copied = None

    def shown(self):
        if self.error:
            return "ERROR " + " ".join(f"{k}={v!r}" for k, v in sorted(self.error.items()) if k not in "SVFLRW")
        text = self.tag or ""
        if self.columns is not None:
            text += " (" + ", ".join(f"{name}:{kind}" for name, kind in self.columns) + ")"
        return text + "".join(f"\n    {row}" for row in self.rows[:30]) + (f"\n    … {len(self.rows)}" if len(self.rows) > 30 else "")


class Answer:
    """What a query answered."""

    def __init__(self):
        self.results = []
        self.notices = []

    @property
    def error(self):
        return next((r.error for r in self.results if r.error), None)

    def shown(self):
        lines = [r.shown() for r in self.results] + [f"{n['S']} {n['M']}" for n in self.notices]
        return "\n".join(lines) or "(nothing)"


def fields_of(body):
    parts = body.split(b"\0")
    return {p[:1].decode(): p[1:].decode("utf-8", "replace") for p in parts if p}


class Conn:
    """One connection. `send` and `poll` for those who can't wait, `query` for the others."""

    def __init__(self, port, database, options="", name="regress", timeout=60):
        self.timeout = timeout
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""
        self.status = "I"
        self.answer = None
        self.data = None
        # Notices and notifications as they come.
        self.said = []
        start = {"user": "postgres", "database": database, "application_name": name, "client_encoding": "UTF8",
                 "TimeZone": "PST8PDT", "DateStyle": "Postgres, MDY"}
        if options:
            start["options"] = options
        body = struct.pack("!i", 196608) + b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in start.items()) + b"\0"
        self.sock.sendall(struct.pack("!i", len(body) + 4) + body)
        self.answer = Answer()
        self.finish()
        if self.last.error:
            raise Lost(str(self.last.error))

    def close(self):
        try:
            self.sock.sendall(b"X\0\0\0\4")
        except OSError:
            pass
        self.sock.close()

    def send(self, sql, data=None):
        """`data()` gives what COPY FROM STDIN gets."""
        body = sql.encode() + b"\0"
        self.answer = Answer()
        self.answer.results.append(Result())
        self.data = data
        self.sock.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)

    def query(self, sql, data=None):
        self.send(sql, data)
        return self.finish()

    def finish(self):
        until = time.monotonic() + self.timeout
        while not self.poll(max(0, until - time.monotonic())):
            if time.monotonic() >= until:
                raise Hung(f"no answer in {self.timeout} s")
        return self.last

    def poll(self, seconds):
        """Whether the answer is complete; reads what comes within this time."""
        if self.take():
            return True
        if self.answer is None:
            return True
        if select.select([self.sock], [], [], seconds)[0]:
            more = self.sock.recv(1 << 16)
            if not more:
                raise Lost("the server closed the connection")
            self.input += more
        return self.take()

    def take(self):
        while len(self.input) >= 5:
            length = struct.unpack("!i", self.input[1:5])[0] + 1
            if len(self.input) < length:
                return False
            kind, body = chr(self.input[0]), self.input[5:length]
            self.input = self.input[length:]
            if self.message(kind, body):
                return True
        return False

    def result(self):
        if not self.answer.results:
            self.answer.results.append(Result())
        return self.answer.results[-1]

    def message(self, kind, body):
        if kind == "Z":
            self.status = body.decode()
            self.last, self.answer = self.answer, None
            results = self.last.results
            if results and results[-1].tag is None and results[-1].error is None and len(results) > 1:
                results.pop()
            return True
        if kind == "T":
            columns, at = [], 2
            for _ in range(struct.unpack("!h", body[:2])[0]):
                end = body.index(b"\0", at)
                kind_of = struct.unpack("!i", body[end + 7:end + 11])[0]
                columns.append((body[at:end].decode("utf-8", "replace"), kind_of))
                at = end + 19
            self.result().columns = columns
        elif kind == "D":
            row, at = [], 2
            for _ in range(struct.unpack("!h", body[:2])[0]):
                size = struct.unpack("!i", body[at:at + 4])[0]
                at += 4
                row.append(None if size < 0 else body[at:at + size].decode("utf-8", "replace"))
                at += max(size, 0)
            self.result().rows.append(row)
        elif kind in "CI":
            self.result().tag = body[:-1].decode() if kind == "C" else "EMPTY"
            self.answer.results.append(Result())
        elif kind == "E":
            error = fields_of(body)
            if self.answer is None:
                raise Lost(error.get("M", ""))
            self.result().error = error
            if error.get("V", error.get("S")) == "FATAL":
                raise Lost(error.get("M", ""))
        elif kind in "NA":
            note = fields_of(body) if kind == "N" else {"S": "NOTIFY", "M": body[4:].replace(b"\0", b" ").decode()}
            self.said.append(note)
            if self.answer is not None:
                self.answer.notices.append(note)
        elif kind == "G":
            data = self.data() if self.data else b""
            for at in range(0, len(data), 8192):
                part = data[at:at + 8192]
                self.sock.sendall(b"d" + struct.pack("!i", len(part) + 4) + part)
            self.sock.sendall(b"c\0\0\0\4")
        elif kind in "Hd":
            result = self.result()
            result.copied = (result.copied or b"") + (body if kind == "d" else b"")
            if kind == "d":
                result.rows.append([body.decode("utf-8", "replace")])
        return False
