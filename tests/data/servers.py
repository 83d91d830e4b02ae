"""Servers on loopback: S3 as moto speaks it, behind a proxy that can be told to fail; and files by
TLS.
"""

import datetime
import hashlib
import ipaddress
import json
import ssl
import threading
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote


class Proxy(BaseHTTPRequestHandler):
    """Hand requests on to moto's server, unless it was told to do something else.

    `fault` is "" for nothing, "cut" to send half of an object, a number to answer with, or a
    function that is called before an object is handed on.
    """

    moto = ("", 0)
    fault = ""
    asked: ClassVar[list] = []
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        is_object = self.command == "GET" and "?" not in self.path and self.path.count("/") > 1
        if isinstance(self.fault, int):
            self.send_response(self.fault)
            self.end_headers()
            return
        if callable(self.fault) and is_object:
            self.fault()
        upstream = HTTPConnection(*self.moto, timeout=20)
        upstream.request(self.command, self.path, content, dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        self.asked.append((self.command, self.path, self.headers.get("Range"), len(body)))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.fault == "cut" and is_object else body)
        upstream.close()

    def do_HEAD(self):
        self.do_GET()

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - names of the library

    def log_message(self, *_):
        pass


class Files(SimpleHTTPRequestHandler):
    """Files of a folder; `ranges` answers parts of them, `limit` ends after so many bytes."""

    ranges = True
    limit = None
    asked: ClassVar[list] = []

    def do_GET(self):
        path = self.translate_path(self.path.partition("?")[0])
        self.asked.append((self.path, self.headers.get("Range")))
        try:
            content = Path(path).read_bytes()
        except OSError:
            self.send_error(403 if "secret" in self.path else 404)
            return
        begin = 0
        if self.ranges and (asked := self.headers.get("Range")):
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("Last-Modified", self.date_time_string(1_700_000_000))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[begin : begin + (self.limit or len(content))])

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


class Hub(BaseHTTPRequestHandler):
    """As much of Hugging Face's hub as lists and reads the data set owner/pets, and model files.

    `models` has a folder for the name of every model, such as timm/resnet18.a1_in1k.
    """

    root = Path()
    models: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        self.asked.append((self.path, self.headers.get("Range")))
        name, _, file = path.strip("/").partition("/resolve/main/")
        if name in self.models:
            self.give(Path(self.models[name]) / file)
            return
        of_repository, tree = "/api/datasets/owner/pets", "/api/datasets/owner/pets/tree/main"
        if path.startswith(tree):
            place = self.root / path.removeprefix(tree).strip("/")
            found = place.rglob("*") if "recursive=true" in self.path else place.iterdir()
            self.answer(200, json.dumps([self.told(one) for one in sorted(found)]).encode())
        elif path.startswith(of_repository):
            self.answer(200, json.dumps({"id": "owner/pets", "sha": "a" * 40}).encode())
        elif path.startswith("/datasets/owner/pets/resolve/main/"):
            name = path.removeprefix("/datasets/owner/pets/resolve/main/")
            begin, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            self.answer(206, (self.root / name).read_bytes()[int(begin) : int(end) + 1])
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def give(self, file):
        """Answer with a file of a model, or that it has none, as the hub does."""
        body = file.read_bytes() if file.is_file() else b""
        etag = hashlib.sha256(body).hexdigest()
        more = {"ETag": f'"{etag}"', "X-Repo-Commit": "b" * 40}
        self.answer(200, body, more) if body else self.answer(
            404, b"", {**more, "X-Error-Code": "EntryNotFound"}
        )

    do_HEAD = do_GET  # noqa: N815 - names of the library

    def told(self, path):
        if path.is_dir():
            return {"type": "directory", "oid": "", "size": 0, "path": self.name_of(path)}
        content = path.read_bytes()
        name, oid = self.name_of(path), hashlib.sha1(content).hexdigest()
        return {"type": "file", "oid": oid, "size": len(content), "path": name}

    def name_of(self, path):
        return path.relative_to(self.root).as_posix()

    def answer(self, status, body, more=()):
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": len(body), **dict(more)}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(handler, context=None):
    """Serve by a handler while it lasts; gives the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # of clients that went away
    thread = threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder):
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    from cryptography import x509  # noqa: PLC0415 - moto brings it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    builder = builder.add_extension(addresses, critical=False)
    signed = builder.add_extension(x509.BasicConstraints(True, None), True)
    file = folder / "certificate.pem"
    file.write_bytes(
        signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context
