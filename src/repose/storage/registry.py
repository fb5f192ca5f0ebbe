"""Find models by name and version, as in DVC's model registry.

An artifact in dvc.yaml gives a model its name and path. An annotated git tag NAME@vX.Y.Z (GTO's format) marks the revision of
a version. That revision's dvc.lock has the file's hash, and DVC's cache or remote has the file.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from repose.config import nearest
from repose.errors import RemoteError, ReposeError
from repose.storage.atomic import disk_errors_named
from repose.storage.remote import Remote
from repose.storage.transfer.digests import md5_of

_NAME = re.compile(r"(?P<name>(?:[^\s@:]+:)?[^\s@:]+)(?:@(?P<version>latest|v\d+\.\d+\.\d+\S*))?")


class Registered(NamedTuple):
    """A version of a model."""

    name: str  # NAME, or FOLDER:NAME for one of FOLDER/dvc.yaml
    version: str  # such as v1.0.0
    commit: str
    path: str  # of the model's file at that commit

    @property
    def tag(self) -> str:
        """The git tag of the version."""
        return _tag(self.name, self.version)


def model_file(model: str, folder: Path = Path()) -> Path:
    """The file of a registered model in DVC's cache; fetched from the remote if missing. Its MD5 is checked.

    Args:
        model: NAME@vX.Y.Z; NAME or NAME@latest for the highest version; FOLDER:NAME... for an artifact of FOLDER/dvc.yaml.
        folder: a folder in the git repository and DVC project.

    Raises:
        RemoteError: there is no such model or version, its file is in neither the revision nor the remote, DVC is not
            installed, or the folder is in no repository.
        ReposeError: DVC cannot write to its folder .dvc.
    """
    try:
        import gto.api  # noqa: F401
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ModuleNotFoundError as error:
        raise RemoteError(
            f"A registered model needs DVC ({error.name} is not installed): pip install 'dvc[s3]'. Or give the file "
            "with --checkpoint."
        ) from None
    try:
        with disk_errors_named(folder.resolve() / ".dvc"):
            found = find_model(model, folder)
            with Repo(str(folder.resolve())) as repo:
                return _cached(repo, found)
    except DvcException as error:
        raise RemoteError(f"DVC cannot read {model} in {folder.resolve()}: {error}") from None


def find_model(model: str, folder: Path) -> Registered:
    """The revision and path of a registered model; raises as `model_file`."""
    import dvc.api
    from dvc.exceptions import ArtifactNotFoundError

    parts = _NAME.fullmatch(model)
    if parts is None:
        raise RemoteError(
            f"A model is named NAME@vX.Y.Z, or NAME alone for its highest version, such as attend@v1.0.0, not {model!r}."
        )
    name, version = parts["name"], _version(folder, parts["name"], parts["version"] or "latest")
    try:
        artifact = dvc.api.artifacts_show(name, version=version, repo=str(folder.resolve()))
    except ArtifactNotFoundError:
        raise RemoteError(
            f"The revision {_tag(name, version)} has no artifact {name!r} in its dvc.yaml (artifacts: ...). Tag a revision "
            "that has it."
        ) from None
    return Registered(name, version, artifact["rev"], Path(artifact["path"]).as_posix())


def _version(folder: Path, name: str, wanted: str) -> str:
    """The version `wanted` if it is registered, or the highest for "latest"."""
    import gto.api
    from gto.constants import VersionSort
    from gto.exceptions import ArtifactNotFound, GTOException
    from scmrepo.exceptions import SCMError

    top = str(folder.resolve())
    tag = f"git tag -a {_tag(name, 'v1.0.0' if wanted == 'latest' else wanted)} -m '...'"
    advice = f"A version is an annotated git tag: {tag}; fetch those of others by git fetch --tags."
    try:
        entries = gto.api.show(top, name=name, registered_only=True, sort=VersionSort.SemVer)
    except ArtifactNotFound:
        known = sorted(gto.api.show(top))
        raise RemoteError(
            f"No version of a model {name!r} is registered here{nearest(name, known) if known else '.'} {advice}"
        ) from None
    except (GTOException, SCMError) as error:
        raise RemoteError(
            f"{top} is in no git repository ({error}), so no model is registered here. Go to the project's folder, or give "
            "the file with --checkpoint."
        ) from None
    versions = [str(entry["version"]) for entry in entries]  # the highest first, without withdrawn ones
    if not versions:
        raise RemoteError(
            f"All versions of {name} were withdrawn. Tag a new one: git tag -a {_tag(name, 'vX.Y.Z')} -m '...'."
        )
    if wanted == "latest":
        return versions[0]
    if wanted not in versions:
        raise RemoteError(f"There is no version {wanted} of {name}; there are: {', '.join(versions)}. {advice}")
    return wanted


def _tag(name: str, version: str) -> str:
    """The git tag of a version; GTO writes = for the colon, which git rejects."""
    return f"{name.replace(':', '=')}@{version}"


def _cached(repo: Any, found: Registered) -> Path:
    """The model's file in DVC's cache. The remote is the one configured now, not the revision's."""
    out, md5 = _output(repo, found)
    if md5.endswith(".dir"):
        _fetch(repo, md5, f"The list of {out} at {found.tag}")
        md5 = _md5_in_folder(repo.cache.local, md5, out, found)
    _fetch(repo, md5, f"{found.path} of {found.tag}")
    file = Path(repo.cache.local.oid_to_path(md5))
    if md5_of(file) != md5:
        raise RemoteError(
            f"{file} in DVC's cache, which should be {found.path} of {found.tag}, has another MD5. Delete it and try again."
        )
    return file


def _output(repo: Any, found: Registered) -> tuple[str, str]:
    """The path and hash of the output that is or contains the model's file, at the version's revision."""
    with repo.switch(found.commit):
        outs = {repo.fs.relpath(out.fs_path, repo.root_dir): out.hash_info for out in repo.index.outs}
    for path, hashed in outs.items():
        if hashed and PurePosixPath(found.path).is_relative_to(path):
            return path, str(hashed.value)
    raise RemoteError(
        f"The dvc.lock of the revision {found.tag} has no {found.path}, the path of its artifact {found.name}. Tag a revision "
        "for which `dvc repro` has run, dvc.lock committed."
    )


def _md5_in_folder(cache: Any, md5: str, out: str, found: Registered) -> str:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree: Any = Tree.load(cache, HashInfo("md5", md5))
    entry = tree.get(PurePosixPath(found.path).relative_to(out).parts)
    if entry is None:
        raise RemoteError(
            f"{found.path}, the path of the artifact {found.name} at {found.tag}, is no file in the output {out}. It should "
            f"be that of the model, such as {out}/model.safetensors."
        )
    return str(entry[1].value)


def _fetch(repo: Any, md5: str, what: str) -> None:
    """Fetch an object into DVC's cache if it is missing. Its MD5 is checked, which DVC does not do for every remote."""
    if repo.cache.local.exists(md5):
        return
    try:
        remote = Remote(repo)
        remote.pull([md5])
    except ReposeError as error:
        raise RemoteError(f"{what} is not in DVC's cache and cannot be fetched from the remote. {error}") from None
    file = Path(repo.cache.local.oid_to_path(md5))
    if md5_of(file) != md5.removesuffix(".dir"):
        file.unlink()
        raise RemoteError(
            f"{what} is damaged in the remote {remote.address}: the MD5 of the object {md5} is another. Delete the object "
            "there, and `dvc push` from where it is whole."
        )
