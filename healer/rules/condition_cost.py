"""What a condition may cost: read off the compiled expression, so that no way of writing it hides anything.

The library gives a compiled expression as bytes of cel.expr.CheckedExpr, a message of protobuf. Only the fields that matter here
are read: https://github.com/google/cel-spec/blob/master/proto/cel/expr/syntax.proto and checked.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from healer.rules.pattern_cost import pattern_cost

_EXPR, _TYPES, _SOURCE, _POSITIONS = 4, 3, 5, 4
_ID, _CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _LOOP = 2, 3, 4, 5, 6, 7, 8, 9
_STRING = 6
_NULL_TYPE, _PRIMITIVE, _WELL_KNOWN, _LIST_TYPE, _MAP_TYPE = 2, 3, 5, 6, 7
_ANY = 1
"""The numbers of fields; and the well-known type that may hold anything."""
_NODE, _COMPARED, _COUNTED, _ADDED, _FOUND, _LARGE = 0.06, 0.3, 4.0, 15.0, 12.0, 80.0
_ZONE, _NESTED = 100.0, 800_000.0
"""Microseconds, as measured: to evaluate anything; to compare two texts; to count the characters of one; to add two; to look for
a short text in another, and for one that is as long as it may be, which comparing two maps takes as well; to look up a time
zone; to compare lists of maps, or what may be such lists."""
_MOST_ROUNDS = 10_000
"""The library ends an evaluation after so many rounds of macros."""


@dataclass(frozen=True, slots=True)
class ConditionLimits:
    """What there can be at most: entries of a map, its characters, and those of a text."""

    entries: int
    map_characters: int
    text: int


@dataclass(frozen=True, slots=True)
class CostFinding:
    """A part of the expression: what it costs in microseconds in all its rounds, and where it is. `name` is the function, or
    "" for what is no call; `loops` are the macros around it, and `sum` says whether it makes a text longer.

    `pattern` is that of a matches(); None where it is not written as one text.
    """

    name: str
    cost: float
    offset: int
    loops: int
    sum: bool = False
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class _Pending:
    """An expression that is still to be read: in how many rounds it is evaluated, in how many macros, what their results are
    called, and their variables."""

    data: bytes
    rounds: float = 1.0
    loops: int = 0
    results: frozenset[bytes] = frozenset()
    variables: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class CompiledCost:
    """The findings in a compiled expression (`serialized`)."""

    serialized: bytes
    limits: ConditionLimits
    _positions: dict[int, int] = field(default_factory=dict)
    _types: dict[int, bytes] = field(default_factory=dict)

    def findings(self) -> Iterator[CostFinding]:
        """One for each part, in no particular order."""
        checked = dict(_fields(_bytes(dict(_fields(self.serialized)).get(2, b""))))
        for number, value in _fields(_bytes(dict(_fields(self.serialized)).get(2, b""))):
            entry = dict(_fields(_bytes(value))) if number == _TYPES else {}
            if entry:
                self._types[_int(entry.get(1, 0))] = _bytes(entry.get(2, b""))
        for number, value in _fields(_bytes(checked.get(_SOURCE, b""))):
            if number == _POSITIONS:
                entry = dict(_fields(_bytes(value)))
                self._positions[_int(entry.get(1, 0))] = _int(entry.get(2, 0))
        places = [_Pending(_bytes(checked.get(_EXPR, b"")))]
        while places:
            yield from self._read(places.pop(), places)

    def _read(self, place: _Pending, places: list[_Pending]) -> Iterator[CostFinding]:
        parts = _fields(place.data)
        here = next((_int(value) for number, value in parts if number == _ID), 0)
        offset = self._positions.get(here, 0)
        yield CostFinding("", _NODE * place.rounds, offset, place.loops)
        for number, value in parts:
            if number in (_SELECT, _LIST):
                places.extend(self._inside(place, value, 1))
            elif number == _STRUCT:
                for kind, entry in _fields(_bytes(value)):
                    if kind == 2:
                        places.extend(self._inside(place, entry, 3, 4))
            elif number == _CALL:
                places.extend(self._inside(place, value, 1, 3))
                yield self._call(place, value, offset)
            elif number == _LOOP:
                yield self._loop(place, value, offset, places)

    def _inside(self, place: _Pending, value: int | bytes, *numbers: int) -> Iterator[_Pending]:
        for number, part in _fields(_bytes(value)):
            if number in numbers:
                yield _Pending(_bytes(part), place.rounds, place.loops, place.results, place.variables)

    def _loop(self, place: _Pending, value: int | bytes, offset: int, places: list[_Pending]) -> CostFinding:
        """A macro: its body is evaluated once for each entry of a map, or of a list, which is written or made of a map."""
        parts = dict(_fields(_bytes(value)))
        over, result = _bytes(parts.get(2, b"")), _bytes(parts.get(3, b""))
        names = {_bytes(parts[number]) for number in (1, 8) if number in parts}
        rounds = min(_MOST_ROUNDS, place.rounds * (self.limits.entries + len(over) / 6))  # no part has fewer than six bytes
        results, variables = place.results | {result}, place.variables | names
        places.extend(
            _Pending(_bytes(parts[n]), place.rounds, place.loops, results, place.variables) for n in (2, 4, 7) if n in parts
        )
        places.extend(_Pending(_bytes(parts[n]), rounds, place.loops + 1, results, variables) for n in (5, 6) if n in parts)
        return CostFinding("macro", _NODE * rounds, offset, place.loops + 1)

    def _call(self, place: _Pending, value: int | bytes, offset: int) -> CostFinding:
        parts = _fields(_bytes(value))
        name = next((_bytes(part).decode() for number, part in parts if number == 2), "")
        arguments = [_bytes(part) for number, part in parts if number in (1, 3)]
        made = name == "_+_" and bool(arguments) and _named(arguments[0]) in place.results  # how a macro gathers its result
        pattern = _text(arguments[-1]) if name == "matches" and arguments else None
        cost = self._cost_of(place, name, arguments, pattern)
        return CostFinding(
            name, cost * place.rounds, offset, place.loops, name == "_+_" and not made and place.loops > 0, pattern
        )

    def _cost_of(self, place: _Pending, name: str, arguments: list[bytes], pattern: str | None) -> float:
        texts = [text for each in arguments if (text := _text(each)) is not None]
        match name:
            case "matches":
                own = place.loops == 1 and bool(arguments) and _entry_alone(arguments[0], place.variables)
                share = self.limits.map_characters / self.limits.entries
                return pattern_cost(pattern or "", share if own else self.limits.text)
            case "contains":
                return _FOUND + len(texts[-1]) / 20 if len(texts) == 1 else _LARGE
            case "_+_":
                return _ADDED
            case "_==_" | "_!=_":
                return min(map(self._compared, arguments), default=_NESTED)
            case "@in":
                return self._looked_up(*arguments)
            case "startsWith" | "endsWith" | "_<_" | "_>_" | "_<=_" | "_>=_" | "_[_]":
                return _COMPARED
            case _ if name.startswith("get") and len(arguments) > 1:
                return _ZONE
            case _ if name.startswith(("_", "!", "@")) or name == "dyn":
                return 0.0
        return _COUNTED

    def _compared(self, argument: bytes) -> float:
        """What comparing it with something takes at most: two values are compared no further than the simpler one goes."""
        kind = self._type(argument)
        if _simple(kind):
            return _COMPARED
        return _LARGE * (1 + len(argument) / 100) if _flat(kind) else _NESTED

    def _looked_up(self, member: bytes, collection: bytes) -> float:
        """What it takes to look for a member: in a list, it is compared with one after the other."""
        if any(number == _MAP_TYPE for number, _ in _fields(self._type(collection))):
            return self._compared(member)
        written = any(number == _LIST for number, _ in _fields(collection))
        return self._compared(member) * ((0 if written else self.limits.entries) + 1 + len(collection) / 9)  # bytes of a name

    def _type(self, expr: bytes) -> bytes:
        """b"" where the type is not known before it is evaluated."""
        return self._types.get(_id(expr), b"")


def _simple(kind: bytes) -> bool:
    """Whether all values of the type are of one piece."""
    return any(n in (_NULL_TYPE, _PRIMITIVE) or (n == _WELL_KNOWN and value != _ANY) for n, value in _fields(kind))


def _flat(kind: bytes) -> bool:
    """Whether the values of the type are lists or maps of what is of one piece."""
    inner = next((_bytes(value) for number, value in _fields(kind) if number in (_LIST_TYPE, _MAP_TYPE)), b"")
    return bool(inner) and all(_simple(_bytes(part)) for _, part in _fields(inner))


def _entry_alone(subject: bytes, variables: frozenset[bytes]) -> bool:
    """Whether a text is that of a macro's variable, or of the map at that variable: all rounds together see the map once."""
    if _named(subject) in variables:
        return True
    call = next((_bytes(value) for number, value in _fields(subject) if number == _CALL), b"")
    parts = _fields(call)
    index = any(number == 2 and _bytes(part) == b"_[_]" for number, part in parts)
    return index and _named(_bytes(parts[-1][1])) in variables


def _id(expr: bytes) -> int:
    return next((_int(value) for number, value in _fields(expr) if number == _ID), 0)


def _named(expr: bytes) -> bytes:
    """The name of a variable; b"" for anything else."""
    ident = next((_bytes(value) for number, value in _fields(expr) if number == _IDENT), b"")
    return next((_bytes(value) for number, value in _fields(ident) if number == 1), b"")


def _text(expr: bytes) -> str | None:
    """The text that is written there; None for anything else."""
    const = next((_bytes(value) for number, value in _fields(expr) if number == _CONST), b"")
    return next((_bytes(value).decode() for number, value in _fields(const) if number == _STRING), None)


def _int(value: int | bytes) -> int:
    return value if isinstance(value, int) else 0


def _bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message of protobuf, in their order."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                found.append((key >> 3, value))
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                size, at = _varint(data, at)
                found.append((key >> 3, data[at : at + size]))
                at += size
            case other:
                raise ValueError(f"no field of protobuf: wire type {other}")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
