"""The folder of a demo: its config.toml, and the ports that it keeps from run to run."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from collector import durable
from collector.errors import CollectError, UsageError
from pipelines.demo.annotators import ANNOTATORS
from pipelines.demo.drawings import HORSE

LIMIT = 150  # drawings to crawl
REAL_LIMIT = 250  # real pictures to crawl: there are figures to trust then
SITE_PORT, STUDIO_PORT = 8341, 8340  # if they are free
CONFIG = """\
# Written by `collect demo`. The sources are the demo's own site: it runs only while the demo does.
# What the demo works on: {material}

[crawl]
limit = {limit}
contact = "demo@collect.invalid"
allow_private_hosts = ["127.0.0.1"]

[sources]
inaturalist = {{ enabled = false }}
met = {{ enabled = false }}
flickr = {{ enabled = false }}
smithsonian = {{ enabled = false }}
europeana = {{ enabled = false }}

[sources.openverse]
base_url = "{site}"

[sources.wikimedia]
base_url = "{site}"

[label]
port = {port}
annotators = {annotators}
overlap = 3

[concepts.horse]
synsets = {{ horse = "{synset}" }}
exclude = ["rocking horse"]
"""


def configured(root: Path, material: str, limit: int = LIMIT) -> Path:
    """The demo's config.toml, written the first time, for the same material ever after."""
    path = root / "config.toml"
    line = f"# What the demo works on: {material}\n"
    if path.exists():
        if line not in path.read_text(encoding="utf-8"):
            raise UsageError(
                f"{root} is a workspace of something else", hint="choose another folder with `--folder`, or remove it"
            )
        return path
    text = CONFIG.format(
        material=material,
        limit=limit,
        site=f"http://127.0.0.1:{_free_port(SITE_PORT)}",
        port=_free_port(STUDIO_PORT),
        annotators=json.dumps([who.name for who in ANNOTATORS]),
        synset=HORSE,
    )
    durable.save(path, text.encode())
    return path


def _free_port(preferred: int) -> int:
    """`preferred` if nobody uses it, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CollectError("this machine has no free port on 127.0.0.1", hint="end a program that holds many")


def site_port(config: Path) -> int:
    """A free port for the site: the one in config.toml if possible, so that addresses in the catalog stay true."""
    table = tomllib.loads(config.read_text(encoding="utf-8"))
    return _free_port(urlsplit(table["sources"]["openverse"]["base_url"]).port or 0)


def environment(site_url: str) -> dict[str, str]:
    """Our environment with the sources' address, which may have changed since config.toml was written."""
    return dict(os.environ) | {
        "COLLECT__SOURCES__OPENVERSE__BASE_URL": site_url,
        "COLLECT__SOURCES__WIKIMEDIA__BASE_URL": site_url,
    }
