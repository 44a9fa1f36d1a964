"""Plug-ins: found without being imported, loaded only when allowed by name, and each one broken alone.

An extension is an entry point of an installed package, in the group of its kind (``rayjobs.processors``,
``.analyses``, ``.charts``, ``.resources``, ``.tasks``). Its name is what a job file's ``plugins`` and the allow-list
say; one package may offer several kinds under one name, such as an analysis and its chart. What becomes of a loaded
one: ``extension_adapters``.

    entry points -> discover -> allowed by name? -> load -> adapt and register -> usable in job files
"""

from __future__ import annotations

import hashlib
import logging
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import RLock

from pipelines.extensions.extension_adapters import ExtensionError, ExtensionKind, Origin, Undo, install, registries
from pipelines.registry import nearest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One extension that this installation offers, as ``rayjobs extensions`` lists it."""

    kind: ExtensionKind
    name: str
    version: str
    distribution: str
    allowed: bool
    loaded: bool
    problem: str | None = None
    """Why it can't be used, when that is known: it stays unknown until somebody asks for it."""


def installed_entry_points() -> list[EntryPoint]:
    """The entry points of all kinds that installed packages declare. Reads metadata, imports nothing."""
    found = metadata.entry_points()
    return [entry for kind in ExtensionKind for entry in found.select(group=kind.group)]


@dataclass(frozen=True, slots=True)
class _Loaded:
    origin: Origin
    kinds: tuple[ExtensionKind, ...]
    undo: Undo


class ExtensionManager:
    """The extensions of a process, since the tables that they fill are the process' own. Safe from several threads."""

    def __init__(self, allowed: Iterable[str] = (), *, find: Callable[[], Iterable[EntryPoint]] | None = None) -> None:
        self._find = find
        self._allowed = set(allowed)
        self._loaded: dict[str, _Loaded] = {}
        self._broken: dict[str, str] = {}
        self._explained: dict[str, Undo] = {}
        self._lock = RLock()

    def allow(self, names: Iterable[str]) -> None:
        """Add to the allow-list; only a person's settings and command line may, never a job file."""
        with self._lock:
            self._allowed.update(names)

    def discover(self) -> tuple[Extension, ...]:
        """Every extension that is installed or was registered, sorted by name; imports none of them."""
        with self._lock:
            rows = [
                Extension(
                    kind=kind,
                    name=name,
                    version=loaded.origin.version,
                    distribution=loaded.origin.distribution,
                    allowed=True,
                    loaded=True,
                )
                for name, loaded in self._loaded.items()
                for kind in loaded.kinds
            ]
            for name, entries in self._entries().items():
                rows += [self._described(name, entry, entries) for entry in entries if name not in self._loaded]
            return tuple(sorted(rows, key=lambda row: (row.name, row.kind, row.distribution)))

    def load(self, names: Iterable[str]) -> dict[str, str]:
        """Load extensions, unless they are; give what is wrong with those that can't be used, by name.

        Nothing that an extension does while it loads stops the others. Tables say the same about names that are missing
        because of it, so that a job file's mistake has its true reason.
        """
        with self._lock:
            problems: dict[str, str] = {}
            for name in dict.fromkeys(names):
                problem = None if name in self._loaded else self._broken.get(name) or self._load(name)
                if problem is not None:
                    problems[name] = problem
                self._explain(name, problem)
            return problems

    def load_allowed(self) -> dict[str, str]:
        """As ``load``, for every allowed name."""
        with self._lock:
            return self.load(sorted(self._allowed))

    def load_exactly(self, versions: Mapping[str, str]) -> dict[str, str]:
        """As ``load``, and take out what has another version than the given one."""
        with self._lock:
            problems = self.load(versions)
            for name, own in self.versions(list(versions)).items():
                if own != versions[name]:
                    problem = f"plug-in {name!r} is {own} on {socket.gethostname()}, planned was {versions[name]}"
                    problems[name] = self._broken[name] = f"{problem}; install the same version everywhere"
                    self._unload(name)
                    self._explain(name, problems[name])
            return problems

    def register(
        self, kind: ExtensionKind, name: str, found: object, *, version: str = "0", distribution: str = "this program"
    ) -> Undo:
        """Make an object of this program an extension; the returned function takes it out again.

        Raises
        ------
        ExtensionError
            As ``install`` does.
        """
        origin = Origin(name=name, distribution=distribution, version=version)
        with self._lock:
            if name in self._loaded:
                raise ExtensionError(f"{origin}: {self._loaded[name].origin} is loaded already")
            undo = install(kind, found, origin)
            self._loaded[name] = _Loaded(origin, (kind,), undo)

        def unregister() -> None:
            with self._lock:
                if self._loaded.get(name) is not None and self._loaded[name].undo is undo:
                    self._unload(name)

        return unregister

    def versions(
        self, names: Sequence[str] | None = None, *, kinds: Collection[ExtensionKind] = tuple(ExtensionKind)
    ) -> dict[str, str]:
        """Loaded extension of some kind -> package, version and digest of its source: for provenance and cache keys."""
        with self._lock:
            return {
                name: loaded.origin.key
                for name, loaded in sorted(self._loaded.items())
                if (names is None or name in names) and not set(kinds).isdisjoint(loaded.kinds)
            }

    def without_version(self) -> frozenset[str]:
        """Loaded extensions that don't say which version they are: none of their results may outlive a run."""
        with self._lock:
            return frozenset(name for name, loaded in self._loaded.items() if not loaded.origin.has_version)

    def close(self) -> None:
        """Take everything out again."""
        with self._lock:
            for name in list(self._loaded):
                self._unload(name)
            for undo in self._explained.values():
                undo()
            self._explained.clear()
            self._broken.clear()

    def _entries(self) -> dict[str, list[EntryPoint]]:
        find = self._find or installed_entry_points
        found: dict[str, list[EntryPoint]] = {}
        for entry in find():
            found.setdefault(entry.name, []).append(entry)
        return found

    def _described(self, name: str, entry: EntryPoint, entries: list[EntryPoint]) -> Extension:
        origin = _origin(entry)
        return Extension(
            kind=_kind(entry),
            name=name,
            version=origin.version,
            distribution=origin.distribution,
            allowed=name in self._allowed,
            loaded=False,
            problem=self._broken.get(name) or _ambiguous(entries),
        )

    def _load(self, name: str) -> str | None:
        """Load one extension of all kinds that it has, or none of them; give what went wrong."""
        entries = self._entries().get(name)
        if not entries:
            near = nearest(name, self._entries())
            return (
                f"plug-in {name!r} isn't installed on {socket.gethostname()}{near}; `rayjobs extensions` lists what is"
            )
        if problem := _ambiguous(entries):
            return problem
        origin = _origin(entries[0])
        if name not in self._allowed:
            return (
                f"{origin} isn't allowed: a plug-in is code, so a person allows it; add `--allow-plugin {name}` to the "
                f"command, or set RAYJOBS_ALLOW_PLUGINS={name}"
            )
        try:
            found = [(_kind(entry), entry.load()) for entry in entries]
            origin = replace(origin, digest=_source_digest(entries[0].module))
            with ExitStack() as undoing:
                for kind, value in found:
                    undoing.callback(install(kind, value, origin))
                loaded = _Loaded(origin, tuple(map(_kind, entries)), undoing.pop_all().close)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # foreign code may raise anything when it is imported
            text = str(error) if isinstance(error, ExtensionError) else f"{origin}: {type(error).__name__}: {error}"
            self._broken[name] = f"{text} (the plug-in is broken; the others work)"
            log.warning("%s", self._broken[name])
            log.debug("loading %s", origin, exc_info=True)
            return self._broken[name]
        self._loaded[name] = loaded
        return None

    def _unload(self, name: str) -> None:
        self._loaded.pop(name).undo()

    def _explain(self, name: str, problem: str | None) -> None:
        if name in self._explained:
            self._explained.pop(name)()
        if problem is not None:
            undoing = ExitStack()
            for kind in ExtensionKind:
                for table in registries(kind):
                    undoing.callback(table.explain(name, problem))
            self._explained[name] = undoing.close


@cache
def process_extensions() -> ExtensionManager:
    """This process' manager; the driver allows names, workers load those that their job was planned with."""
    return ExtensionManager()


def load_extensions(versions: Mapping[str, str]) -> dict[str, str]:
    """Load, in a worker, what the driver allowed; give what is wrong, by name. Cheap when it was done before.

    ``versions`` is what the driver's manager gave. An extension of another version here would give other pixels than
    the job's digests stand for, so it isn't used.
    """
    if not versions:
        return {}
    manager = process_extensions()
    manager.allow(versions)
    return manager.load_exactly(versions)


def _kind(entry: EntryPoint) -> ExtensionKind:
    return next(kind for kind in ExtensionKind if kind.group == entry.group)


def _origin(entry: EntryPoint) -> Origin:
    distribution = entry.dist
    return Origin(
        name=entry.name,
        distribution=(distribution and distribution.name) or "unknown package",
        version=(distribution and distribution.version) or "unknown",
    )


def _source_digest(module: str) -> str:
    """Of the Python files of a loaded package, so that an author's edits need no new version to take effect."""
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    sources = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.relative_to(path.parent).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _ambiguous(entries: list[EntryPoint]) -> str | None:
    packages = sorted({_origin(entry).distribution for entry in entries})
    kinds = [entry.group for entry in entries]
    if len(packages) == 1 and len(set(kinds)) == len(kinds):
        return None
    return f"plug-in {entries[0].name!r} is offered more than once, by {' and '.join(packages)}; uninstall all but one"
