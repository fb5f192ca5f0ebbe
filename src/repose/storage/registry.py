"""Models by name and version, the way of DVC's model registry: which file is NAME@VERSION, and where is it?

An artifact of dvc.yaml gives a model its name and path, a git tag NAME@vX.Y.Z (of GTO's form, annotated) a version of it a
revision; that revision's dvc.lock says which bytes they are, and DVC's cache or remote has them. So a version needs no other
server than the repository and the remote.
"""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from repose.config import nearest
from repose.errors import RemoteError, ReposeError

LATEST = "latest"
_WANTED = re.compile(r"(?P<name>(?:[^\s@:]+:)?[^\s@:]+)(?:@(?P<version>latest|v\d+\.\d+\.\d+\S*))?")


class Registered(NamedTuple):
    """A version of a model."""

    name: str  # NAME, or FOLDER:NAME for one of FOLDER/dvc.yaml
    version: str  # such as v1.0.0
    commit: str
    path: str  # of the model's file at that commit


def model_file(model: str, folder: Path = Path()) -> Path:
    """The file of a registered model, brought here unless it was before.

    Args:
        model: NAME@vX.Y.Z; NAME or NAME@latest for the highest version; FOLDER:NAME... for an artifact of FOLDER/dvc.yaml.
        folder: in the git repository and DVC project.

    Returns:
        The file in DVC's cache, to which the remote gave it if need was; its MD5 is checked each time.

    Raises:
        RemoteError: there is no such model or version, its revision does not have it, its file cannot be had, or neither DVC
            nor a repository is here.
    """
    _check_installed()
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        found = find_model(model, folder)
        with Repo(str(folder.resolve())) as repo:
            return _brought(repo, found)
    except DvcException as error:
        raise RemoteError(f"DVC cannot read {model} in {folder.resolve()}: {error}") from None


def find_model(model: str, folder: Path) -> Registered:
    """Which revision and path a registered model is.

    Raises:
        RemoteError: see `model_file`.
    """
    import dvc.api
    from dvc.exceptions import ArtifactNotFoundError

    said = _WANTED.fullmatch(model)
    if said is None:
        raise RemoteError(
            f"A model is named NAME@vX.Y.Z, or NAME alone for its highest version, such as attend@v1.0.0, not {model!r}."
        )
    name, version = said["name"], _version(folder, said["name"], said["version"] or LATEST)
    try:
        shown = dvc.api.artifacts_show(name, version=version, repo=str(folder.resolve()))
    except ArtifactNotFoundError:
        raise RemoteError(
            f"The revision {_tag(name, version)} has no artifact {name!r} in its dvc.yaml (artifacts: ...). Tag a revision "
            "that has it."
        ) from None
    return Registered(name, version, shown["rev"], Path(shown["path"]).as_posix())


def _check_installed() -> None:
    try:
        import dvc.api  # noqa: F401
        import gto.api  # noqa: F401
    except ModuleNotFoundError as error:
        raise RemoteError(
            f"A model by its name needs DVC ({error.name} is not installed): pip install 'repose[pipeline]'. Or name the file "
            "itself with --checkpoint."
        ) from None


def _version(folder: Path, name: str, wanted: str) -> str:
    """The version that is wanted, if there is one.

    Raises:
        RemoteError: there is none.
    """
    import gto.api
    from gto.constants import VersionSort
    from gto.exceptions import ArtifactNotFound, GTOException
    from scmrepo.exceptions import SCMError

    top = str(folder.resolve())
    try:
        shown = gto.api.show(top, name=name, registered_only=True, sort=VersionSort.SemVer)
    except ArtifactNotFound:
        known = sorted(gto.api.show(top))
        raise RemoteError(
            f"No version of a model {name!r} is registered here{nearest(name, known) if known else '.'} A version is an "
            f"annotated git tag: git tag -a {_tag(name, 'v1.0.0')} -m '...'; those of others come with git fetch --tags."
        ) from None
    except (GTOException, SCMError) as error:
        raise RemoteError(
            f"{top} is in no git repository ({error}), so no model is registered here. Go to the project's folder, or name "
            "the file itself with --checkpoint."
        ) from None
    versions = [str(entry["version"]) for entry in shown]  # the highest first, without those that were withdrawn
    if wanted == LATEST and versions:
        return versions[0]
    if wanted not in versions:
        raise RemoteError(f"There is no version {wanted} of {name}; there are: {', '.join(versions) or 'none'}.")
    return wanted


def _tag(name: str, version: str) -> str:
    """The git tag of a version; GTO writes = for the colon, which git refuses."""
    return f"{name.replace(':', '=')}@{version}"


def _brought(repo: Any, found: Registered) -> Path:
    """The model's file in DVC's cache; from the remote as it is set now, as that of then may be gone, or came later."""
    cache, tag = repo.cache.local, _tag(found.name, found.version)
    out, md5 = _output(repo, found)
    if md5.endswith(".dir"):
        _fetch(repo, md5, f"The list of {out} at {tag}")
        md5 = _in_folder(cache, md5, out, found)
    _fetch(repo, md5, f"{found.path} of {tag}")
    place = Path(cache.oid_to_path(md5))
    with place.open("rb") as stream:
        if hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
            raise RemoteError(
                f"{place} in DVC's cache, which is {found.path} of {tag}, was changed: its MD5 is another one. Delete it and "
                "try again."
            )
    return place


def _output(repo: Any, found: Registered) -> tuple[str, str]:
    """Path and hash of the output that the model's file is or lies in, as the version's revision has them.

    Raises:
        RemoteError: no output is there, or no stage has made it.
    """
    with repo.switch(found.commit):
        outs = {repo.fs.relpath(out.fs_path, repo.root_dir): out.hash_info for out in repo.index.outs}
    for path, hashed in outs.items():
        if hashed and PurePosixPath(found.path).is_relative_to(path):
            return path, str(hashed.value)
    raise RemoteError(
        f"The dvc.lock of the revision {_tag(found.name, found.version)} has no {found.path}, the path of its artifact "
        f"{found.name}. Tag a revision for which `dvc repro` has run, dvc.lock committed."
    )


def _in_folder(cache: Any, md5: str, out: str, found: Registered) -> str:
    """The hash of the model's file in the folder `out`.

    Raises:
        RemoteError: there is no such file in it.
    """
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree: Any = Tree.load(cache, HashInfo("md5", md5))
    entry = tree.get(PurePosixPath(found.path).relative_to(out).parts)
    if entry is None:
        raise RemoteError(
            f"{found.path}, the path of the artifact {found.name} at {_tag(found.name, found.version)}, is no file in the "
            f"output {out}. It should be that of the model, such as {out}/model.safetensors."
        )
    return str(entry[1].value)


def _fetch(repo: Any, md5: str, what: str) -> None:
    """Bring an object into DVC's cache if it is not there.

    Raises:
        RemoteError: the remote does not have it or cannot be used.
    """
    from repose.storage.remote import Remote

    if not repo.cache.local.exists(md5):
        try:
            Remote(repo).fetch([md5], repo.cache.local)
        except ReposeError as error:
            raise RemoteError(f"{what} is not in DVC's cache, and does not come from its remote. {error}") from None
