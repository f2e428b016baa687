"""A page that tries every way out of a browser, a canary that counts what arrives, and a network to try it in."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

from collector.spiders.runner import crawl
from collector.workspace import Workspace
from tests.collector.web import BY, Web, serving, settings

HOSTILE = """
<img src="http://HOST/img"><iframe src="http://HOST/frame"></iframe><script src="http://HOST/script"></script>
<link rel="stylesheet" href="http://HOST/style"><link rel="preconnect" href="http://HOST/">
<link rel="icon" href="http://HOST/i">
<link rel="dns-prefetch" href="http://HOST/"><link rel="prefetch" href="http://HOST/prefetch">
<object data="http://HOST/object"></object><embed src="http://HOST/embed">
<video src="http://HOST/video" autoplay></video>
<form action="http://HOST/form" method="post" target="_blank"><button id="b"></button></form>
<script>
const host = "HOST";
const quietly = act => { try { const done = act(); done && done.catch && done.catch(() => 0); } catch {} };
quietly(() => fetch(`http://${host}/fetch`, {mode: "no-cors"}));
quietly(() => fetch(`http://${host}/post`, {mode: "no-cors", method: "POST", body: "x", keepalive: true}));
quietly(() => new WebSocket(`ws://${host}/socket`));
quietly(() => new EventSource(`http://${host}/events`));
quietly(() => navigator.sendBeacon(`http://${host}/beacon`, "x"));
quietly(() => new Worker(URL.createObjectURL(new Blob([`fetch("http://${host}/worker", {mode: "no-cors"});
    new WebSocket("ws://${host}/worker-socket")`]))));
quietly(() => new SharedWorker(URL.createObjectURL(new Blob([`fetch("http://${host}/shared", {mode: "no-cors"})`]))));
quietly(() => navigator.serviceWorker.register("/sw.js"));
quietly(() => new WebTransport(`https://${host}/transport`));
quietly(() => {
    const peer = new RTCPeerConnection({iceServers: [{urls: `stun:${host}`}, {urls: `turn:${host}?transport=tcp`,
                                                      username: "u", credential: "c"}]});
    peer.createDataChannel("x");
    return peer.createOffer().then(offer => peer.setLocalDescription(offer));
});
quietly(() => window.open(`http://${host}/popup`));
quietly(() => document.getElementById("b").click());
setTimeout(() => { document.title = "done"; location.href = `http://${host}/away`; }, 300);
</script>"""


class Canary:
    """A port of this machine that counts who comes by, over TCP and UDP."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.host = f"127.0.0.1:{self._tcp.getsockname()[1]}"
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self._tcp.getsockname()[1]))
        threading.Thread(target=self._listen_tcp, daemon=True).start()
        threading.Thread(target=self._listen_udp, daemon=True).start()

    def _listen_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            connection.settimeout(0.5)
            try:
                self.hits.append(connection.recv(200).decode("latin-1").partition("\r\n")[0] or "connected")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                self.hits.append("connected")
            connection.close()

    def _listen_udp(self) -> None:
        while True:
            try:
                self._udp.recvfrom(2000)
            except OSError:
                return
            self.hits.append("udp")

    def __enter__(self) -> Canary:
        return self

    def __exit__(self, *args: object) -> None:
        for each in (self._tcp, self._udp):
            each.close()


def hostile_crawl(ws: Workspace, web: Web, hosts: list[str]) -> int:
    """Render a hostile page for each host; how many pictures were kept, one of each page.

    The page also asks for what its own robots.txt closes.
    """
    web.pages["/robots.txt"] = (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /closed\n")
    for number, host in enumerate(hosts):
        body = f'{HOSTILE.replace("HOST", host)}<img src="/img/{number}.jpg"><script src="/closed.js"></script>'
        body += '<script src="/open.js"></script>'
        web.page(f"/hostile{number}", body, f'<link rel="license" href="{BY}">')
        web.picture(f"/img/{number}.jpg", number)
    kept = crawl(ws, "horse", url=[f"{web.url}/hostile{number}" for number in range(len(hosts))], browser=True).kept
    time.sleep(0.5)
    return kept


IN_A_NETWORK_OF_ITS_OWN = """
set -e
ip link set lo up
ip addr add 10.0.0.1/32 dev lo
ip addr add 169.254.169.254/32 dev lo
nft -f - <<RULES
table inet count {
    chain output {
        type filter hook output priority 0;
        ip daddr { 10.0.0.0/8, 169.254.0.0/16 } counter
        ip6 daddr ::1 counter
    }
}
RULES
nft list ruleset > "$1/rules"
"$0" -c "import socket
with socket.socket(type=socket.SOCK_DGRAM) as s:
    s.bind(('10.0.0.1', 9)), s.sendto(b'x', ('10.0.0.1', 9))"
nft list ruleset > "$1/control"
"$0" -c "import sys; from tests.collector.hostile_page import inside; inside(sys.argv[1])" "$1"
nft list ruleset > "$1/counted"
"""


def inside(folder: str) -> None:
    """What runs in the network of its own."""
    with serving() as web:
        (Path(folder) / "config.toml").write_text(settings(web, site="depth = 0"), encoding="utf-8")
        with Workspace.open(Path(folder) / "config.toml") as ws:
            hosts = ["10.0.0.1", "169.254.169.254:8080", "[::1]:8080"]
            (Path(folder) / "kept").write_text(str(hostile_crawl(ws, web, hosts)), encoding="utf-8")


def packets_in(path: Path) -> list[int]:
    """The counts in a listing of nftables."""
    return [int(number) for number in re.findall(r"counter packets (\d+)", path.read_text())]
