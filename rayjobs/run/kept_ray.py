"""The Ray that ``rayjobs up`` keeps: how whoever needs one finds it, holds it and ends it. Ray isn't imported.

Its ``keeper`` listens at a socket that is a name in the kernel and no file: that of the account and its
``RAYJOBS_HOME``. The name goes with the keeper's process, so nothing that is found can be of a dead one. A connection
takes one question and one answer, in JSON. Who asked to hold keeps it open as long as Ray is needed; it, too, goes with
its process. The answer brings Ray's token, which lies in no file: both sides see to it that the other is the same user.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from actors.home import rayjobs_home
from pipelines.errors import JobError, RayjobsError
from rayjobs.run.kept_environment import difference, environment
from rayjobs.run.ray_address import starts_embedded

ANSWER_S = 10.0
"""How long a keeper may take to answer; it does so when its Ray has started."""
START_S = 120.0
END_S = 60.0
"""How long Ray may take to start, and to end."""
MESSAGE_BYTES = 2**18
"""More than the system sends at once; an answer names all variables."""
_KEEPER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from rayjobs.run import keeper; keeper.main()"

Question = Literal["look", "hold", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRay:
    """A local Ray that waits for jobs."""

    address: str
    """Of its control service, for drivers."""
    token: str = field(repr=False)
    directory: str
    """Where Ray has the files of its session."""
    cpus: int
    since: float
    """Unix seconds of its start."""
    idle_s: float
    """How long nobody may hold it before it ends."""
    environment: Mapping[str, str]
    """What its workers inherit, by ``kept_environment``."""
    holders: tuple[str, ...] = ()
    """Who holds it now, in words."""
    ends: float | None = None
    """Unix seconds of its end if nobody holds it until then; None while somebody does."""

    def text(self) -> str:
        """How it stands, in words."""
        if self.ends is None:
            use = f"used by {', '.join(self.holders)}"
        else:
            use = f"idle; it ends at {_clock(self.ends)} unless a job comes"
        return f"{self.cpus} CPUs, up since {_clock(self.since)}, {use}"


@dataclass(frozen=True, slots=True)
class Hold:
    """The keeper's word that its Ray stays until this is released, or its process ends."""

    ray: KeptRay
    line: socket.socket

    def release(self) -> None:
        self.line.close()


def process_at(line: socket.socket) -> int:
    """The process at the other end of a socket: the one that connected, or that listens.

    Raises
    ------
    PermissionError
        It is another user's.
    """
    pid, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if user != os.geteuid():
        raise PermissionError(errno.EPERM, f"process {pid} is of user {user}")
    return int(pid)


def socket_name() -> str:
    """The name at which the keeper of this account listens, if there is one."""
    home = hashlib.sha256(os.fsencode(os.path.realpath(rayjobs_home()))).hexdigest()[:16]
    return f"\0rayjobs-{os.geteuid()}-{home}"


def kept_ray(*, patience_s: float = ANSWER_S) -> KeptRay | None:
    """The one that there is, whoever may use it; None when there is none."""
    found = _ask("look", patience_s=patience_s)
    if found is None:
        return None
    found.release()
    return found.ray


def usable_ray() -> KeptRay | None:
    """The one that a session of this process uses, if it uses one."""
    found = kept_ray() if starts_embedded() else None
    return None if found is None or why_unused(found) else found


def starts_ray() -> bool:
    """Whether a session of this process starts a Ray of its own."""
    return starts_embedded() and usable_ray() is None


def unused_ray() -> str | None:
    """Why a session of this process starts a Ray of its own although one is kept; None: it doesn't."""
    found = kept_ray() if starts_embedded() else None
    return None if found is None else why_unused(found)


def hold(name: str) -> Hold | None:
    """Take hold of the one that a session of this process uses; None: it starts its own, or goes elsewhere.

    ``name`` is what others are told of the holder.
    """
    found = _ask("hold", name, patience_s=ANSWER_S) if starts_embedded() else None
    if found is not None and why_unused(found.ray) is not None:
        found.release()
        return None
    return found


def why_unused(kept: KeptRay) -> str | None:
    """Why a session of this process doesn't use a kept Ray; None: it does."""
    if not starts_embedded():
        return f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS', '')} is set"
    different = difference(kept.environment, environment())
    if different is not None:
        return different
    if not Path(kept.directory).is_dir():
        return f"its directory {kept.directory} isn't there"
    if "ray" in sys.modules and os.environ.get("RAY_AUTH_TOKEN") != kept.token:
        return "this program had imported Ray before"
    return None


def start(idle_s: float) -> tuple[KeptRay, bool]:
    """Have Ray started and kept; (the one that is kept now, whether this has started it).

    Raises
    ------
    JobError
        It doesn't start; or one is kept that isn't of this environment.
    """
    kept = kept_ray()
    if kept is not None:
        return _of_this_environment(kept), False
    command = [sys.executable, "-c", _KEEPER, json.dumps(sys.path), str(idle_s)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # neither Ctrl-C nor the end of this terminal is for Ray
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        is_up = bool(process.stdout.readline())
        said = "" if is_up else process.stderr.read()
    except BaseException:
        process.terminate()
        raise
    kept = kept_ray(patience_s=START_S)
    if kept is None:
        raise JobError(
            " ".join(said.split()) or "Ray was started, and has ended at once; `rayjobs doctor` looks for the cause"
        )
    return _of_this_environment(kept), is_up


def end() -> bool:
    """End the one that is kept, and return when nothing of it is left; False when there was none.

    Raises
    ------
    JobError
        Somebody uses it.
    """
    asked = _ask("end", patience_s=END_S)
    if asked is None:
        return False
    try:
        if asked.ray.holders:
            raise JobError(
                f"Ray is in use by {', '.join(asked.ray.holders)}; wait for it, or stop it first: rayjobs cancel"
            )
        asked.line.recv(MESSAGE_BYTES)  # nothing comes: the keeper's process ends
    except TimeoutError as error:
        raise JobError(f"Ray was told to end, and hasn't within {END_S:.0f} s") from error
    finally:
        asked.release()
    return True


def _of_this_environment(kept: KeptRay) -> KeptRay:
    different = difference(kept.environment, environment())
    if different is not None:
        raise JobError(f"Ray is up already, but jobs from here can't use it: {different}; end it first: rayjobs down")
    return kept


def _ask(question: Question, name: str = "", *, patience_s: float) -> Hold | None:
    """Ask the keeper; None: there is none, or it doesn't answer."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.settimeout(patience_s)
    try:
        line.connect(socket_name())
        process_at(line)
        line.send(json.dumps({"question": question, "name": name[:200]}).encode())
        answer = line.recv(MESSAGE_BYTES)
    except (OSError, RayjobsError):  # nobody listens, which is the usual case, or there is no home to name it by
        answer = b""
    if not answer:
        line.close()
        return None
    return Hold(from_json(json.loads(answer)), line)


def from_json(found: Mapping[str, Any]) -> KeptRay:
    """What a keeper answered, which may be of a later version."""
    known = {each.name: found[each.name] for each in fields(KeptRay) if each.name in found}
    return KeptRay(**{**known, "holders": tuple(found["holders"])})


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M", time.localtime(seconds))
