"""From a module's source to its mutants: mutmut's operators, applied to every place that has a meaning."""

import ast
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal

NO_MUTATE = "# pragma: no mutate"
SHAPES = {"Float", "Int", "Bool", "Shaped", "Num", "Inexact", "Complex", "Integer", "Literal", "Callable"}
WORDS_FOR_PEOPLE = {"help", "description", "epilog", "metavar"}  # keyword arguments
GUARDS = {"strict"}  # keyword arguments that no result depends on: lengths that are equal as the code stands
CALLS_KEPT = {"len", "isinstance", "issubclass", "hasattr", "getattr", "super", "cast"}  # their arguments are no choice


@dataclass(frozen=True)
class Mutant:
    """One change in one module. `start` to `end` are bytes of its source, `line` the first line that differs."""

    module: str  # path from the root
    start: int
    end: int
    text: str
    line: int
    before: str  # the lines that differ, joined
    after: str
    on_import: bool  # outside the body of every function: only a fresh import shows it
    related: tuple[int, ...]  # lines of its statement; of an `on_import` mutant, lines that use what it changes
    key: str  # the same for the same change of the same source

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(root: Path, module: str) -> list[Mutant]:
    """Every mutant of `root / module`, in the order of the source."""
    source = (root / module).read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    visitor = _Visitor(wrapper.module, source)
    wrapper.visit(visitor)
    places = _Places(source)
    found = {}
    for start, end, text in sorted(visitor.found):
        mutant = _mutant(module, source, places, start, end, text)
        if mutant is not None:
            found[mutant.key] = mutant
    return list(found.values())


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, module: cst.Module, source: bytes) -> None:
        super().__init__()
        self.module, self.source = module, source
        self.found: set[tuple[int, int, str]] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _meaningless(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and _wanted(node, operator):
                for mutated in _choice(node, operator):
                    self._add(node, mutated)
        return True

    def _add(self, node: cst.CSTNode, mutated: cst.CSTNode) -> None:
        span = self.get_metadata(ByteSpanPositionProvider, node)
        start, end = span.start, span.start + span.length
        if getattr(node, "lpar", ()) and getattr(mutated, "lpar", ()) == node.lpar:
            mutated = mutated.with_changes(lpar=(), rpar=())  # parentheses lie outside the span
        original = self.source[start:end].decode()
        stripped = original.strip()
        lead = original.index(stripped)
        text = self.module.code_for_node(mutated).strip()
        offset = len(original[:lead].encode())
        self.found.add((start + offset, start + offset + len(stripped.encode()), text))


def _meaningless(node: cst.CSTNode) -> bool:
    """Nothing in here decides what the library does: annotations, imports, messages, docstrings."""
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom() | cst.Raise() | cst.TypeAlias():
            return True
        case cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString()):
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value="__all__"))]):
            return True
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case cst.Subscript(value=cst.Name(value=name)) if name in SHAPES:
            return True
        case cst.Arg(keyword=cst.Name(value=name)) if name in WORDS_FOR_PEOPLE | GUARDS:
            return True
        case cst.SimpleString(value=value):
            return " " in value.strip() or "\\n" in value
    return False


def _choice(node: cst.CSTNode, operator) -> list[cst.CSTNode]:
    """Leave out what says the same again.

    Of a string's three mutations (marked, lower, upper) the first. Of a call: an argument becomes None unless it is a
    literal, which has a mutation of its own, and is left out if it has a keyword.
    """
    made = list(operator(node))
    if isinstance(node, cst.SimpleString):
        return made[:1]
    if operator is not operator_arg_removal:
        return made
    literal = cst.BaseNumber | cst.BaseString | cst.Tuple | cst.List
    to_none = [a for a in node.args if a.star == "" and not _is_none(a.value)]
    kept = [n for a, n in zip(to_none, made, strict=False) if not isinstance(a.value, literal) and not _guards(a)]
    dropped = made[len(to_none) :]  # one for every argument, where there are two or more
    return kept + [new for a, new in zip(node.args, dropped, strict=False) if a.keyword and not _guards(a)]


def _guards(argument: cst.Arg) -> bool:
    return argument.keyword is not None and argument.keyword.value in GUARDS


def _is_none(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def _wanted(node: cst.CSTNode, operator) -> bool:
    called = node.func.value if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) else None
    return not (operator is operator_arg_removal and called in CALLS_KEPT)


class _Places:
    """Where functions and names stand in a source."""

    def __init__(self, source: bytes) -> None:
        self.lines = source.decode().splitlines()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.tree = ast.parse(source)
        self.functions = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]

    def line(self, offset: int) -> int:
        return bisect_right(self.starts, offset)

    def in_body(self, offset: int) -> bool:
        return any(self._start(f.body[0]) <= offset < self._end(f) for f in self.functions)

    def statement(self, offset: int) -> tuple[int, ...]:
        """Lines of the innermost statement, of a compound one its head: tracing may see the first one alone."""
        line = self.line(offset)
        heads = (
            (node.lineno, node.body[0].lineno - 1 if hasattr(node, "body") else node.end_lineno)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.stmt | ast.ExceptHandler)
        )
        around = [(start, max(start, end)) for start, end in heads if start <= line <= max(start, end)]
        start, end = max(around, default=(line, line))
        return tuple(range(start, end + 1))

    def related(self, offset: int) -> tuple[int, ...]:
        """Lines that use what is defined at `offset`: the function of a default, every mention of a constant."""
        for function in self.functions:
            if self._start(function) <= offset < self._start(function.body[0]):
                return tuple(range(function.body[0].lineno, function.end_lineno + 1))
        names = set(self._assigned(self.tree, offset))
        mention = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b") if names else None
        return tuple(n for n, line in enumerate(self.lines, 1) if mention and mention.search(line))

    def _assigned(self, tree: ast.AST, offset: int) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and self._start(node) <= offset < self._end(node):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))

    def _start(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def _mutant(module: str, source: bytes, places: _Places, start: int, end: int, text: str) -> Mutant | None:
    mutated = source[:start] + text.encode() + source[end:]
    try:
        ast.parse(mutated)
    except SyntaxError:
        return None
    old, new = source.decode().splitlines(), mutated.decode().splitlines()
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if first is None:
        return None
    last = next(n for n, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b)
    last = min(last, len(old) - first - 1, len(new) - first - 1)
    changed, became = old[first : len(old) - last], new[first : len(new) - last]
    if any(NO_MUTATE in line for line in changed):
        return None
    on_import = not places.in_body(start)
    key = hashlib.sha1(b"\0".join([module.encode(), source, str(start).encode(), text.encode()])).hexdigest()
    return Mutant(
        module=module,
        start=start,
        end=end,
        text=text,
        line=first + 1,
        before=" ".join(" ".join(changed).split()),
        after=" ".join(" ".join(became).split()),
        on_import=on_import,
        related=places.related(start) if on_import else places.statement(start),
        key=key,
    )
