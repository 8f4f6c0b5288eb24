"""Scripts of psql, statement by statement, as psql would take them apart."""

import re

QUOTED = re.compile(r"\$([A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$")
WORD = re.compile(r"[A-Za-z_\x80-\uffff][A-Za-z0-9_$\x80-\uffff]*")


class Script:
    """`next()` gives ("sql", text, meta), ("meta", line) or None; `meta` is the backslash command that sent the
    statement, if it wasn't a semicolon."""

    def __init__(self, text):
        self.text = text
        self.at = 0
        self.variables = {}

    def next(self):
        parts, depth, atomic, words = [], 0, 0, []
        while self.at < len(self.text):
            rest = self.text[self.at:self.at + 2]
            one = rest[:1]
            if rest == "--":
                self.upto("\n", keep=False)
            elif rest == "/*":
                self.comment()
            elif one == "'":
                escapes = bool(words) and parts and parts[-1].lower() == "e"
                parts.append(self.quoted("'", escapes))
            elif one == '"':
                parts.append(self.quoted('"', False))
            elif one == "$" and (found := QUOTED.match(self.text, self.at)):
                parts.append(self.upto(found.group(0), keep=True, skip=len(found.group(0))))
            elif one == ":" and (value := self.variable()) is not None:
                parts.append(value)
            elif rest == "\\;":
                parts.append(";")
                self.at += 2
            elif one == "\\":
                line = self.upto("\n", keep=False)
                sql = "".join(parts).strip()
                if sql and re.match(r"\\g", line):
                    return ("sql", sql, line)
                if not sql:
                    return ("meta", line)
                # Something that psql does in the middle of a statement.
            elif one == ";" and depth == 0 and atomic == 0:
                self.at += 1
                sql = "".join(parts).strip()
                parts, words = [], []
                if sql:
                    return ("sql", sql, None)
            elif word := WORD.match(self.text, self.at):
                parts.append(word.group(0))
                self.at = word.end()
                words.append(word.group(0).lower())
                atomic = self.block(words, atomic)
            else:
                depth += {"(": 1, ")": -1}.get(one, 0)
                parts.append(one)
                self.at += 1
        sql = "".join(parts).strip()
        return ("sql", sql, None) if sql else None

    @staticmethod
    def block(words, atomic):
        """Bodies of SQL functions have semicolons of their own."""
        if words[0] != "create" or not {"function", "procedure"} & set(words[:4]):
            return 0
        if words[-1] == "begin" or (words[-1] == "case" and atomic):
            return atomic + 1
        return max(0, atomic - 1) if words[-1] == "end" else atomic

    def upto(self, end, keep, skip=0):
        found = self.text.find(end, self.at + skip)
        stop = len(self.text) if found < 0 else found + (len(end) if keep else 0)
        part = self.text[self.at:stop]
        self.at = stop
        return part

    def comment(self):
        depth = 0
        while self.at < len(self.text):
            two = self.text[self.at:self.at + 2]
            depth += {"/*": 1, "*/": -1}.get(two, 0)
            self.at += 2 if two in ("/*", "*/") else 1
            if depth == 0:
                return

    def quoted(self, quote, escapes):
        start = self.at
        self.at += 1
        while self.at < len(self.text):
            one = self.text[self.at]
            self.at += 2 if escapes and one == "\\" else 1
            if one == quote:
                break
        return self.text[start:self.at]

    def variable(self):
        found = re.compile(r""":(?:'(\w+)'|"(\w+)"|(\w+))""").match(self.text, self.at)
        if not found or self.text[self.at - 1:self.at] == ":":
            return None
        name = next(g for g in found.groups() if g is not None)
        if name not in self.variables:
            return None
        self.at = found.end()
        value = self.variables[name]
        if found.group(1):
            return "'" + value.replace("'", "''") + "'"
        return '"' + value.replace('"', '""') + '"' if found.group(2) else value

    def copy_data(self):
        """The lines after COPY FROM STDIN."""
        self.upto("\n", keep=True)
        end = re.compile(r"^\\\.\s*$", re.M).search(self.text, self.at)
        stop = end.start() if end else len(self.text)
        data = self.text[self.at:stop]
        self.at = end.end() if end else stop
        return data.encode()

    def skip_copy_data(self):
        """After a COPY that was refused: its lines, if there are any."""
        line = self.text.find("\n", self.at) + 1
        end = re.compile(r"^\\\.\s*$", re.M).search(self.text, line)
        if end and not re.search(r";\s*(--.*)?$", self.text[line:end.start()], re.M):
            self.at = end.end()
