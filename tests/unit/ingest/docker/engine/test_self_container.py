"""Finding relay's own container, and the events of commands run in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.ingest.docker.engine import self_container as module
from relay.ingest.docker.engine.self_container import (
    find_container_id,
    find_self_container,
    is_self_exec,
)
from tests.unit.ingest.docker.samples import make_event

OWN = "666266e0c07bfc71ece4f873bcf69178ce88ee4d26d2256c1c3ca6a846b1822f"
OTHER = "59a83bc6269a883e326729cfdb2aec732c4c632ba814066b1cdef88bb6e01713"
LAYER = "6db2944778a5c523a5622f2ea3aee3056c3b9573fad76c87850d00660b97b999"

DOCKER = f"""\
101 73 0:43 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/6CIX,\
upperdir=/var/lib/docker/overlay2/{LAYER}/diff,workdir=/var/lib/docker/overlay2/{LAYER}/work
102 101 0:46 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
117 103 0:51 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k
118 101 254:0 /var/lib/docker/containers/{OWN}/resolv.conf /etc/resolv.conf rw,relatime - ext4 \
/dev/vda rw,discard
119 101 254:0 /var/lib/docker/containers/{OWN}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
120 101 254:0 /var/lib/docker/containers/{OWN}/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
74 102 0:46 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
"""
"""The mounts by Docker 20.10, 26.1 and 28.5, without those that every container has."""

PODMAN = f"""\
104 74 0:45 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containers/storage/overlay/l/IU,\
upperdir=/var/lib/containers/storage/overlay/{LAYER}/diff,uuid=on
110 104 0:20 /containers/storage/overlay-containers/{OWN}/userdata/hosts /etc/hosts rw - tmpfs x rw
112 104 0:20 /containers/storage/overlay-containers/{OWN}/userdata/.containerenv \
/run/.containerenv rw,relatime - tmpfs tmpfs rw
113 104 0:20 /containers/storage/overlay-containers/{OWN}/userdata/hostname /etc/hostname rw - e \
/dev/vda rw
116 115 0:29 /machine/libpod-{OWN} /sys/fs/cgroup/cpu ro,nosuid - cgroup cgroup rw,cpu
"""
"""The mounts by Podman 4.3."""

HOST = """\
22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
"""


@pytest.fixture
def mountinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Return the file that the process reads its mounts from; it does not exist yet."""
    path = tmp_path / "mountinfo"
    monkeypatch.setattr(module, "_MOUNTINFO", path)
    find_self_container.cache_clear()
    yield path
    find_self_container.cache_clear()


def test_the_own_container_is_read_once_and_logged(mountinfo: Path) -> None:
    """The own container is logged once, so that people know whose commands are not routed."""
    mountinfo.write_bytes(DOCKER.encode() + b"\xff\n")
    with capture_logs() as logged:
        assert [find_self_container(), find_self_container()] == [OWN, OWN]
    ((line),) = logged
    assert (line["event"], line["id"]) == ("container.own", OWN)


def test_without_a_list_of_mounts_there_is_no_container(mountinfo: Path) -> None:
    """Without a list of mounts, no container is found and nothing is logged."""
    with capture_logs() as logged:
        assert find_self_container() is None
    assert logged == []


@pytest.mark.parametrize("mounts", [DOCKER, PODMAN])
def test_a_container_is_found_by_its_mounts(mounts: str) -> None:
    """The own container is found by the files that the engine mounts into it."""
    assert find_container_id(mounts) == OWN


@pytest.mark.parametrize("folder", ["/var/lib/containers/storage/vfs", "/containers/btrfs", "/zfs"])
def test_podman_with_another_storage_driver(folder: str) -> None:
    """Folders are named after the driver; without root they are in a user's folder."""
    line = (
        f"1 2 0:3 {folder}-containers/{OWN}/userdata/.containerenv /run/.containerenv rw - e d rw"
    )
    assert find_container_id(line) == OWN


def test_the_infra_container_of_a_pod_is_not_found() -> None:
    """Its network files are mounted into all containers; ``.containerenv`` is not."""
    hosts = f"{OWN}/userdata/hosts"
    assert find_container_id(PODMAN.replace(hosts, hosts.replace(OWN, OTHER))) == OWN


@pytest.mark.parametrize(
    "mounts",
    [
        "",
        HOST,
        HOST + f"31 28 0:4 /var/lib/docker/containers/{OTHER}/hostname /mnt/hostname rw - e d rw",
        HOST + f"31 28 0:4 /var/lib/docker/containers/{OTHER}/hosts /etc/hostname rw - e d rw",
        HOST + f"31 28 0:4 /var/lib/docker/containers/{OTHER} /etc/hostname rw - e d rw",
        HOST + f"31 28 0:4 /var/lib/docker/containers/{OTHER[:12]}/hosts /etc/hosts rw - e d rw",
        HOST + f"31 28 0:4 /var/lib/docker/containers/{OTHER}/hosts\\012 /etc/hosts rw - e d rw",
        HOST + f"31 28 0:4 / /data rw - e /containers/{OTHER}/hosts /etc/hosts",
        DOCKER + f"31 28 0:4 /var/lib/docker/containers/{OTHER}/hosts /etc/hosts rw - e d rw",
        f"/var/lib/docker/containers/{OWN}/hosts",
        "\0\n \n    \n" + "a " * 10_000,
    ],
)
def test_mounts_that_prove_no_container(mounts: str) -> None:
    """A volume, another file, the files of two containers or an incomplete line prove nothing."""
    assert find_container_id(mounts) is None


@given(st.text(alphabet=f"{OWN[:8]} /-containershostname\n", max_size=400))
def test_any_text_is_accepted(mounts: str) -> None:
    """Any text in the list of mounts gives an id or none, but no error."""
    assert find_container_id(mounts) is None


@pytest.mark.parametrize(
    "action", ["exec_create", "exec_start", "exec_detach", "exec_die", "exec", "exec_died"]
)
def test_commands_in_the_own_container_are_self_execs(action: str) -> None:
    """Commands in the own container are recognised, with Docker's actions and with Podman's."""
    event = make_event(action, id_=OWN)
    assert is_self_exec(event, OWN)
    assert not is_self_exec(event, OTHER)
    assert not is_self_exec(event, None)


@pytest.mark.parametrize("action", ["die", "oom", "kill", "health_status", "start", "executed"])
def test_other_events_of_the_own_container_are_not_self_execs(action: str) -> None:
    """Other events of the own container are routed: people learn that it died or is unhealthy."""
    assert not is_self_exec(make_event(action, id_=OWN), OWN)


def test_an_actor_of_another_type_is_no_container() -> None:
    """Only a container runs commands."""
    assert not is_self_exec(make_event("exec_start", id_=OWN, type_="plugin"), OWN)
