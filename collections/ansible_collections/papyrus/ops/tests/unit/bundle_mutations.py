# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to a sealed bundle, drawn by chance, each with what a verification has to say of it, and no more."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, listed_in, write

MANIFEST, SUMS, ATTESTATION = "manifest.jsonl", "SHA256SUMS", "attestation.dsse.json"
SUMMARIES = ("junit.xml", "report.html")

Said = tuple[str, str]
"""Class and path of a finding."""


@dataclass(frozen=True)
class Right:
    """`must`: of each of these sets at least one is said. Nothing else is said but what is in them or in `may`."""

    must: tuple[frozenset[Said], ...]
    may: frozenset[Said] = frozenset()

    def wrong(self, said: set[Said]) -> str:
        absent = [sorted(each) for each in self.must if not each & said]
        more = said - self.may - frozenset().union(*self.must)
        return "; ".join([f"not said: {absent}"] * bool(absent) + [f"said in addition: {sorted(more)}"] * bool(more))


@dataclass(frozen=True)
class Scene:
    """What a mutation works with: the bundle (a copy), another sealed one, a key that nobody trusts, chance."""

    folder: Path
    other: Path
    stranger: Key
    rng: random.Random

    def item(self, at_least: int = 0) -> str:
        """Something that a line lists, or a `continued.json`."""
        own = (MANIFEST, *SUMMARIES)
        paths = [path for path in listed_in(self.folder) if path not in own]
        return self.rng.choice([path for path in paths if (self.folder / path).stat().st_size >= at_least])

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        if data == self.read(path):
            raise NotThisOne(path)
        write(self.folder / path, data)


class NotThisOne(Exception):
    """The mutation would change nothing in this bundle; draw another."""


Mutation = Callable[[Scene], Right]
MUTATIONS: list[Mutation] = []


def mutation(function: Mutation) -> Mutation:
    MUTATIONS.append(function)
    return function


def right(*said: Said) -> Right:
    return Right(tuple(frozenset({each}) for each in said))


def one_of(*said: Said) -> Right:
    return Right((frozenset(said),))


def mangled(data: bytes, rng: random.Random) -> bytes:
    """Other bytes: one flipped, replaced, put in or taken out, the end cut off, some added, line ends changed."""
    if not data:
        return rng.randbytes(rng.randrange(1, 9))
    at = rng.randrange(len(data))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + rng.randbytes(rng.randrange(1, 5)) + data[at:]
    if kind == 3:
        return data[:at] + data[at + rng.randrange(1, 5) :]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data + rng.choice((b"\n", b" ", b"\0", rng.randbytes(8)))
    return data.replace(b"\n", b"\r\n")


# Files


@mutation
def item_mangled(scene: Scene) -> Right:
    path = scene.item()
    scene.write(path, mangled(scene.read(path), scene.rng))
    return right(("invalid", path))


@mutation
def item_with_another_of_the_same_size(scene: Scene) -> Right:
    path = scene.item(at_least=1)
    scene.write(path, scene.rng.randbytes(len(scene.read(path))))
    return right(("invalid", path))


@mutation
def items_swapped(scene: Scene) -> Right:
    first, second = scene.item(), scene.item()
    one, two = scene.read(first), scene.read(second)
    scene.write(first, two)
    scene.write(second, one)
    return right(("invalid", first), ("invalid", second))


@mutation
def file_removed(scene: Scene) -> Right:
    path = scene.rng.choice([*listed_in(scene.folder), SUMS])
    (scene.folder / path).unlink()
    return right(("missing", path))


@mutation
def file_copied(scene: Scene) -> Right:
    path = scene.item()
    name = scene.rng.choice(
        [
            f"copy_{path}",
            f".{path}",
            path + "~",
            f"20260131T235959Z_{path}",
            "re\u0301sume.log",
            ".tmp-0123456789abcdef",
        ]
    )
    write(scene.folder / name, scene.read(path))
    return right(("unlisted", name))


@mutation
def file_renamed(scene: Scene) -> Right:
    path = scene.rng.choice([scene.item(), *SUMMARIES])
    name = scene.rng.choice(
        [path.upper(), path + ".", path.replace(".", "\uff0e"), "\u00e9" + path, path[1:], " " + path]
    )
    if (scene.folder / name).exists():
        raise NotThisOne(name)
    os.rename(scene.folder / path, scene.folder / name)
    return right(("missing", path), ("unlisted", name))


@mutation
def something_else_in_its_place(scene: Scene) -> Right:
    path = scene.rng.choice([scene.item(), *SUMMARIES, SUMS, MANIFEST, ATTESTATION])
    outside = scene.folder.parent / "outside"
    write(outside, scene.read(path))
    (scene.folder / path).unlink()
    _special(scene.folder / path, outside, scene.rng)
    return right(("invalid", path))


@mutation
def something_more(scene: Scene) -> Right:
    outside = scene.folder.parent / "outside"
    write(outside, b"secret")
    _special(scene.folder / "more", outside, scene.rng)
    return right(("unlisted", "more"))


def _special(path: Path, outside: Path, rng: random.Random) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        path.symlink_to(outside)
    elif kind == 1:
        path.symlink_to("nowhere")
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.mkdir()
    else:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has a hundred bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)


@mutation
def summary_mangled(scene: Scene) -> Right:
    path = scene.rng.choice(SUMMARIES)
    scene.write(path, mangled(scene.read(path), scene.rng))
    return right(("invalid", path))


# SHA256SUMS


@mutation
def sums_mangled(scene: Scene) -> Right:
    scene.write(SUMS, mangled(scene.read(SUMS), scene.rng))
    return right(("invalid", SUMS))


@mutation
def sums_rewritten(scene: Scene) -> Right:
    lines = scene.read(SUMS).splitlines(keepends=True)
    at = scene.rng.randrange(len(lines))
    digest, name = lines[at].split(b"  ")
    other = scene.rng.randbytes(32).hex().encode()
    changed = scene.rng.choice(
        [
            lines[:at] + lines[at + 1 :],
            lines[:at] + [lines[at]] + lines[at:],
            lines[::-1],
            lines[:at] + [other + b"  " + name] + lines[at + 1 :],
            lines[:at] + [digest.upper() + b"  " + name] + lines[at + 1 :],
            lines[:at] + [digest + b" *" + name] + lines[at + 1 :],
            lines[:at] + [digest + b"  ./" + name] + lines[at + 1 :],
            lines[:at] + [digest + b"  ../" + name] + lines[at + 1 :],
            lines[:at] + [b"\\" + digest + b"  " + name] + lines[at + 1 :],
            [*lines, other + b"  zzz.log\n"],
            [*lines, other + b"  /etc/passwd\n"],
        ]
    )
    scene.write(SUMS, b"".join(changed))
    return right(("invalid", SUMS))
