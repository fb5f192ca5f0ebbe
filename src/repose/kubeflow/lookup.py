"""What a stage would find in DVC's run-cache: its key from hashes alone, without the data, and the entry that is there.

A pod that finds its work done by an earlier run, of a laptop or a cluster, transfers no data at all.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from repose.config import parse_yaml
from repose.kubeflow.pointer import Entry
from repose.kubeflow.project import Dep, Project, Stage, address_of, contains, is_pipeline
from repose.storage.remote import Remote
from repose.terminal import say


class Lookup:
    """Entries of dvc.lock, and the trees of the folders that they name, read from the remote as needed."""

    def __init__(self, project: Project, entries: Mapping[str, Entry], remote: Remote) -> None:
        self.project, self.entries, self.remote = project, dict(entries), remote
        self.cache = project.repo.cache.local
        self._stages = {address_of(stage): stage for stage in project.repo.index.stages if is_pipeline(stage)}
        self._trees: dict[str, Any] = {}

    def key(self, stage: Stage) -> str | None:
        """The stage's key in the run-cache; None if DVC keeps none for it, or the data are needed to say it.

        It needs the entries of the stages upstream.
        """
        from dvc.stage.cache import _get_cache_hash
        from dvc.stage.serialize import to_single_stage_lockfile

        dvc_stage = self._stages[stage.address]
        if stage.always_changed or not dvc_stage.deps or not stage.outs:  # as in DVC's StageCache
            return None
        known = {dep.path: dep for dep in stage.deps}
        for dep in dvc_stage.deps:
            path = _relative(self.project, dep)
            if path not in known:
                dep.save()  # params
            elif not known[path].producers and not known[path].sources:
                if not dep.exists:
                    return None
                dep.save()
            else:
                found = self._hash(known[path])
                if found is None:
                    return None
                dep.hash_info, dep.meta, dep.hash_name = *found, "md5"
        return str(_get_cache_hash(to_single_stage_lockfile(dvc_stage), key=True))

    def found(self, key: str, candidates: Iterable[Entry] = ()) -> Entry | None:
        """The entry that the run-cache of the remote (or one of the candidates) has under a key, with all its objects."""
        folder = f"runs/{key[:2]}/{key}"
        contents = {name: self.remote.read(name) for name in self.remote.names(folder)}
        entries = (_entry_in(content, f"{name} in {self.remote.address}") for name, content in contents.items())
        return next((entry for entry in (*candidates, *entries) if entry and self._whole(entry)), None)

    def objects(self, entry: Entry) -> set[str]:
        """The objects of an entry's outputs, what lists others among them."""
        return {oid for out in entry.get("outs", ()) for oid in self._of(out["md5"])}

    def needed(self, stage: Stage) -> tuple[set[str], list[str]]:
        """The objects of a stage's inputs, and the paths (relative to the project) to check out."""
        oids: set[str] = set()
        paths: list[str] = []
        for dep in stage.deps:
            for out_path, md5 in self._sources(dep):
                if contains(out_path, dep.path) and out_path != dep.path:
                    below = tuple(PurePosixPath(dep.path).relative_to(out_path).parts)
                    tree = self._tree(md5)
                    oids |= {md5} | {info.value for key, _, info in tree if key[: len(below)] == below}
                    paths.append(dep.path)
                else:
                    oids |= set(self._of(md5))
                    paths.append(out_path)
        return oids, list(dict.fromkeys(paths))

    def uncached(self, stage: Stage) -> Iterator[tuple[str, str]]:
        """Path and object of each file among a stage's inputs that DVC does not check out (`cache: false`, as metrics)."""
        for producer in (producer for dep in stage.deps for producer in dep.producers):
            upstream = self.project[producer.stage]
            for path, md5 in outputs_of(upstream, self.entries[producer.stage]):
                if path == producer.path and not upstream.out(path).cached:
                    below = (
                        [(key, info.value) for key, _, info in self._tree(md5)] if md5.endswith(".dir") else [((), md5)]
                    )
                    yield from ((PurePosixPath(path, *key).as_posix(), oid) for key, oid in below)

    def file(self, stage: Stage, entry: Entry, path: str) -> str | None:
        """The object of a file (path relative to the project) in a stage's outputs; None if there is no such file."""
        for out, md5 in outputs_of(stage, entry):
            if out == path:
                return md5
            if contains(out, path) and md5.endswith(".dir"):
                found = self._tree(md5).get(tuple(PurePosixPath(path).relative_to(out).parts))
                return found[1].value if found else None
        return None

    def _sources(self, dep: Dep) -> Iterator[tuple[str, str]]:
        """Path and hash of each output, of a stage or of a .dvc file, that a dependency consists of, holds or lies in."""
        for producer in dep.producers:
            stage = self.project[producer.stage]
            found = outputs_of(stage, self.entries[producer.stage])
            yield from ((path, md5) for path, md5 in found if path == producer.path)
        for source in dep.sources:
            out = next(s for s in self.project.repo.index.stages if _file(self.project, s.path) == source).outs[0]
            yield _relative(self.project, out), out.hash_info.value

    def _hash(self, dep: Dep) -> tuple[Any, Any] | None:
        """Hash and meta of a dependency that other stages made; None where files of the workspace lie among it."""
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta
        from dvc_data.hashfile.tree import Tree

        sources = dict(self._sources(dep))
        if dep.path in sources:
            return HashInfo("md5", sources[dep.path]), self._meta(dep, sources[dep.path])
        whole = next((path for path in sources if contains(path, dep.path)), None)
        if whole is not None:
            below = tuple(PurePosixPath(dep.path).relative_to(whole).parts)
            tree = self._tree(sources[whole])
            if (found := tree.get(below)) is not None:
                return found[1], Meta()
            parts = {key[len(below) :]: info for key, _, info in tree if key[: len(below)] == below}
        elif (self.project.folder / dep.path).exists():
            return None
        else:
            parts = {}
            for path, md5 in sources.items():
                prefix = tuple(PurePosixPath(path).relative_to(dep.path).parts)
                if md5.endswith(".dir"):
                    parts |= {prefix + key: info for key, _, info in self._tree(md5)}
                else:
                    parts[prefix] = HashInfo("md5", md5)
        combined = Tree()  # type: ignore[no-untyped-call]
        for key, info in parts.items():
            combined.add(key, None, info)
        combined.digest()
        return combined.hash_info, Meta(isdir=True)

    def _meta(self, dep: Dep, md5: str) -> Any:
        from dvc_data.hashfile.meta import Meta

        outs = [out for p in dep.producers for out in self.entries[p.stage]["outs"] if out["md5"] == md5]
        return Meta(isdir=md5.endswith(".dir"), isexec=bool(outs and outs[0].get("isexec")))

    def _of(self, md5: str) -> set[str]:
        return {md5} | ({info.value for _, _, info in self._tree(md5)} if md5.endswith(".dir") else set())

    def _tree(self, md5: str) -> Any:
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.tree import Tree

        if md5 not in self._trees:
            self.remote.fetch([md5], self.cache)
            self._trees[md5] = Tree.load(self.cache, HashInfo("md5", md5), hash_name="md5")
        return self._trees[md5]

    def _whole(self, entry: Entry) -> bool:
        """Whether the remote has all objects of an entry."""
        md5s = {out["md5"] for out in entry["outs"]}
        if md5s - self.remote.has(md5s):
            return False
        oids = self.objects(entry)
        return not oids - self.remote.has(oids)


def _entry_in(content: bytes | None, where: str) -> Entry | None:
    """The entry in a file of the run-cache; None if it is damaged: then the work is done again."""
    if content is None:
        return None
    try:
        entry: Entry = parse_yaml(content.decode())
        if all(isinstance(out["md5"], str) and out["path"] for out in entry["outs"]):
            return entry
    except (ValueError, KeyError, TypeError):
        pass
    say(f"{where} is no entry of a run-cache; it is not used.")
    return None


def outputs_of(stage: Stage, entry: Entry) -> Iterator[tuple[str, str]]:
    """Path relative to the project, and hash, of each output of a stage's entry."""
    yield from ((stage.resolve(out["path"]), out["md5"]) for out in entry.get("outs", ()))


def _relative(project: Project, item: Any) -> str:
    return _file(project, item.fs_path)


def _file(project: Project, path: str) -> str:
    return Path(path).relative_to(project.repo.root_dir).as_posix()
