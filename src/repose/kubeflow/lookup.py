"""Look up a stage in DVC's run-cache: compute its key from hashes alone, without the data, and find its entry.

If an earlier run on a laptop or a cluster has the results, a pod transfers no data.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from repose.config import parse_yaml
from repose.kubeflow.pointer import Entry, lock_file
from repose.kubeflow.project import Project
from repose.kubeflow.stages import Dep, Stage, address_of, contains, is_pipeline, path_in
from repose.storage.remote import Remote
from repose.terminal import say


class Lookup:
    """Entries of dvc.lock, and the trees of their folders, which are read from the remote as needed."""

    def __init__(self, project: Project, entries: Mapping[str, Entry], remote: Remote) -> None:
        self.project, self.entries, self.remote = project, dict(entries), remote
        self.cache = project.repo.cache.local
        self._stages = {address_of(stage): stage for stage in project.repo.index.stages if is_pipeline(stage)}
        self._trees: dict[str, Any] = {}

    def key(self, stage: Stage) -> str | None:
        """The stage's key in the run-cache; None if DVC does not cache it, or if the key depends on the data.

        Needs the entries of the upstream stages.
        """
        from dvc.stage.cache import _get_cache_hash
        from dvc.stage.serialize import to_single_stage_lockfile

        dvc_stage = self._stages[stage.address]
        if stage.always_changed or not dvc_stage.deps or not stage.outs:  # as in DVC's StageCache
            return None
        known = {dep.path: dep for dep in stage.deps}
        for dep in dvc_stage.deps:
            path = path_in(self.project.repo, dep.fs_path)
            if path not in known:
                dep.save()  # params
            elif not known[path].producers and not known[path].sources:
                if not dep.exists:
                    return None
                dep.save()
            elif (found := self._hash(known[path])) is None:
                return None
            else:
                dep.hash_info, dep.meta, dep.hash_name = *found, "md5"
        return str(_get_cache_hash(to_single_stage_lockfile(dvc_stage), key=True))

    def find(self, stage: Stage, key: str, image: Path) -> Entry | None:
        """The entry for a key in the image's dvc.lock or the remote's run-cache, if the remote has all its objects."""
        entry = _entry_of_image(stage, key, image)
        if entry and self._is_whole(entry):
            return entry
        for name in self.remote.names(f"runs/{key[:2]}/{key}"):
            entry = parse_entry(self.remote.read(name), f"{name} in {self.remote.address}")
            if entry and self._is_whole(entry):
                return entry
        return None

    def objects(self, entry: Entry) -> set[str]:
        """The objects of an entry's outputs, including the lists of folders."""
        return {oid for out in entry.get("outs", ()) for oid in self._objects(out["md5"])}

    def needed(self, stage: Stage) -> tuple[set[str], list[str]]:
        """The objects of a stage's inputs, and the paths (relative to the project) to check out."""
        oids: set[str] = set()
        paths: list[str] = []
        for dep in stage.deps:
            for out, md5 in self._sources(dep):
                within = contains(out, dep.path) and out != dep.path
                oids |= {md5} | set(self._parts(md5, _below(out, dep.path)).values()) if within else self._objects(md5)
                paths.append(dep.path if within else out)
        return oids, list(dict.fromkeys(paths))

    def uncached(self, stage: Stage) -> Iterator[tuple[str, str]]:
        """Path and object of each file among a stage's inputs that DVC does not check out (`cache: false`, as metrics)."""
        for producer in (producer for dep in stage.deps for producer in dep.producers):
            upstream = self.project[producer.stage]
            for path, md5 in outputs_of(upstream, self.entries[producer.stage]):
                if path == producer.path and not upstream.out(path).cached:
                    parts = self._parts(md5) if md5.endswith(".dir") else {(): md5}
                    yield from ((PurePosixPath(path, *key).as_posix(), oid) for key, oid in parts.items())

    def file(self, stage: Stage, entry: Entry, path: str) -> str | None:
        """The object of a file (path relative to the project) in a stage's outputs; None if missing."""
        for out, md5 in outputs_of(stage, entry):
            if out == path:
                return md5
            if contains(out, path) and md5.endswith(".dir"):
                return self._parts(md5).get(_below(out, path))
        return None

    def _sources(self, dep: Dep) -> Iterator[tuple[str, str]]:
        """The path and hash of each output of a stage or .dvc file that a dependency is, contains, or is part of."""
        for producer in dep.producers:
            found = outputs_of(self.project[producer.stage], self.entries[producer.stage])
            yield from ((path, md5) for path, md5 in found if path == producer.path)
        repo = self.project.repo
        for source in dep.sources:
            out = next(stage for stage in repo.index.stages if path_in(repo, stage.path) == source).outs[0]
            yield path_in(repo, out.fs_path), out.hash_info.value

    def _hash(self, dep: Dep) -> tuple[Any, Any] | None:
        """The hash and metadata of a dependency that other stages wrote; None if it includes files of the workspace."""
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta
        from dvc_data.hashfile.tree import Tree

        sources = dict(self._sources(dep))
        if (md5 := sources.get(dep.path)) is not None:
            return HashInfo("md5", md5), Meta(isdir=md5.endswith(".dir"), isexec=self._is_executable(dep, md5))
        whole = next((path for path in sources if contains(path, dep.path)), None)
        if whole is not None:
            parts = self._parts(sources[whole], _below(whole, dep.path))
            if () in parts:  # a file
                return HashInfo("md5", parts[()]), Meta()
        elif (self.project.folder / dep.path).exists():
            return None
        else:
            parts = {}
            for path, md5 in sources.items():
                below = self._parts(md5) if md5.endswith(".dir") else {(): md5}
                parts |= {_below(dep.path, path) + key: oid for key, oid in below.items()}
        combined = Tree()  # type: ignore[no-untyped-call]
        for key, oid in parts.items():
            combined.add(key, None, HashInfo("md5", oid))
        combined.digest()
        return combined.hash_info, Meta(isdir=True)

    def _is_executable(self, dep: Dep, md5: str) -> bool:
        outs = [out for p in dep.producers for out in self.entries[p.stage]["outs"] if out["md5"] == md5]
        return bool(outs and outs[0].get("isexec"))

    def _objects(self, md5: str) -> set[str]:
        return {md5, *self._parts(md5).values()} if md5.endswith(".dir") else {md5}

    def _parts(self, md5: str, within: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
        """The object of each file of a folder, by the path below `within`."""
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.tree import Tree

        if md5 not in self._trees:
            self.remote.fetch([md5], self.cache)
            self._trees[md5] = Tree.load(self.cache, HashInfo("md5", md5), hash_name="md5")
        start = len(within)
        return {key[start:]: info.value for key, _, info in self._trees[md5] if key[:start] == within}

    def _is_whole(self, entry: Entry) -> bool:
        """Whether the remote has all objects of an entry."""
        md5s = {out["md5"] for out in entry["outs"]}
        if md5s - self.remote.has(md5s):
            return False
        oids = self.objects(entry)
        return not oids - self.remote.has(oids)


def _entry_of_image(stage: Stage, key: str, image: Path) -> Entry | None:
    """The entry of the dvc.lock that came with the image, if it has the key."""
    from dvc.stage.cache import _get_cache_hash

    file, name = lock_file(stage.address)
    try:
        entry: Entry = parse_yaml((image / file).read_text("utf-8"))["stages"][name]
        return entry if _get_cache_hash(json.loads(json.dumps(entry)), key=True) == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parse_entry(content: bytes | None, where: str) -> Entry | None:
    """The entry in a file of the run-cache; None if the file is missing or damaged, so that the stage runs again."""
    if content is None:
        return None
    try:
        entry: Entry = parse_yaml(content.decode())
        if all(isinstance(out["md5"], str) and out["path"] for out in entry["outs"]):
            return entry
    except (ValueError, KeyError, TypeError):
        pass
    say(f"{where} is not an entry of a run-cache; it is not used.")
    return None


def outputs_of(stage: Stage, entry: Entry) -> Iterator[tuple[str, str]]:
    """The path (relative to the project) and hash of each output of a stage's entry."""
    yield from ((stage.resolve(out["path"]), out["md5"]) for out in entry.get("outs", ()))


def _below(folder: str, path: str) -> tuple[str, ...]:
    return PurePosixPath(path).relative_to(folder).parts
