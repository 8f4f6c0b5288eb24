"""Specs of PostgreSQL's isolation tester: sessions, their steps, and the orders in which these run."""

import dataclasses
import itertools
import re

TOKEN = re.compile(r'\s*(?:#[^\n]*\n|(\{[^}]*\})|("(?:[^"]|"")*")|([A-Za-z_][\w$-]*)|(\d+)|(.))', re.S)


@dataclasses.dataclass
class Session:
    name: str
    setup: str = ""
    teardown: str = ""
    steps: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Step:
    name: str
    sql: str
    session: int


@dataclasses.dataclass
class Placed:
    """A step in a permutation. Its markers: "*" or (step, notices or None)."""
    step: Step
    markers: list


class Spec:
    def __init__(self, text):
        self.tokens = [t for t in (self.token(m) for m in TOKEN.finditer(text + "\n")) if t]
        self.at = 0
        self.setup, self.teardown, self.sessions, self.permutations = [], [], [], []
        while self.at < len(self.tokens):
            self.part()
        self.steps = {step.name: step for session in self.sessions for step in session.steps}
        self.permutations = [[self.placed(*one) for one in order] for order in self.permutations] or list(self.all_orders())

    @staticmethod
    def token(match):
        block, quoted, word, number, other = match.groups()
        if block is not None:
            return ("block", block[1:-1].strip())
        if quoted is not None:
            return ("word", quoted[1:-1].replace('""', '"'))
        if word is not None:
            return ("word", word)
        if number is not None:
            return ("number", int(number))
        return ("other", other) if other and not other.isspace() else None

    def take(self, kind=None):
        found = self.tokens[self.at]
        if kind and found[0] != kind:
            raise ValueError(f"{kind} expected, got {found}")
        self.at += 1
        return found[1]

    def is_next(self, *token):
        return self.at < len(self.tokens) and self.tokens[self.at] == token

    def part(self):
        word = self.take("word")
        if word == "setup":
            self.setup.append(self.take("block"))
        elif word == "teardown":
            self.teardown.append(self.take("block"))
        elif word == "session":
            self.session(Session(self.take("word")))
        elif word == "permutation":
            self.permutations.append(self.order())
        else:
            raise ValueError(f"what is {word}?")

    def session(self, session):
        number = len(self.sessions)
        self.sessions.append(session)
        while self.at < len(self.tokens):
            if self.is_next("word", "setup"):
                self.at += 1
                session.setup = self.take("block")
            elif self.is_next("word", "teardown"):
                self.at += 1
                session.teardown = self.take("block")
            elif self.is_next("word", "step"):
                self.at += 1
                name = self.take("word")
                session.steps.append(Step(name, self.take("block"), number))
            else:
                return

    def order(self):
        found = []
        while self.at < len(self.tokens) and self.tokens[self.at] != ("word", "permutation"):
            name = self.take("word")
            markers = []
            if self.is_next("other", "("):
                self.at += 1
                while not self.is_next("other", ")"):
                    if self.is_next("other", ","):
                        self.at += 1
                    elif self.is_next("other", "*"):
                        self.at += 1
                        markers.append("*")
                    else:
                        other, notices = self.take("word"), None
                        if self.is_next("word", "notices"):
                            self.at += 1
                            notices = self.take("number")
                        markers.append((other, notices))
                self.at += 1
            found.append((name, markers))
        return found

    def placed(self, name, markers):
        return Placed(self.steps[name], markers)

    def all_orders(self):
        """Every interleaving, the steps of a session in their order."""
        of = [session.steps for session in self.sessions]
        slots = [number for number, steps in enumerate(of) for _ in steps]
        seen = set()
        for order in itertools.permutations(slots):
            if order in seen:
                continue
            seen.add(order)
            left = [iter(steps) for steps in of]
            yield [Placed(next(left[number]), []) for number in order]
