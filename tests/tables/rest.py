"""An Iceberg REST catalog over a PyIceberg SQL catalog, for what a test asks of one.

    rest.py SQLITE_FILE WAREHOUSE ID:SECRET

Prints its URL and serves until its input ends. Tokens are given for ID and SECRET, and each is good for six
requests, so that a client has to ask for another.
"""

import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchNamespaceError, NoSuchTableError

FILE, WAREHOUSE, CREDENTIAL = sys.argv[1:]
TABLES = SqlCatalog("test", uri=f"sqlite:///{FILE}", warehouse=WAREHOUSE)
LOCK = threading.Lock()
USES = {}


class Refused(Exception):
    def __init__(self, status, message):
        self.status, self.message = status, message


def loaded(table):
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
    }


def answer(method, parts, query, body):
    match method, parts:
        case "GET", ["config"]:
            return {"defaults": {}, "overrides": {"prefix": "cat/one"}}
        case _, ["cat", "one", *rest]:
            parts = rest
        case _:
            raise Refused(404, "no such path")
    match method, parts:
        case "GET", ["namespaces"]:
            names = TABLES.list_namespaces(tuple(query.get("parent", "").split("\x1f")) if query.get("parent") else ())
            # A page each.
            at = int(query.get("pageToken", 0))
            page = {"namespaces": [list(name) for name in names[at : at + 1]]}
            return page | ({"next-page-token": str(at + 1)} if at + 1 < len(names) else {})
        case "GET", ["namespaces", name]:
            return {"namespace": name.split("\x1f"), "properties": TABLES.load_namespace_properties(tuple(name.split("\x1f")))}
        case "POST", ["namespaces"]:
            TABLES.create_namespace(tuple(body["namespace"]))
            return {"namespace": body["namespace"]}
        case "GET", ["namespaces", name, "tables"]:
            found = TABLES.list_tables(tuple(name.split("\x1f")))
            return {"identifiers": [{"namespace": list(one[:-1]), "name": one[-1]} for one in found]}
        case "GET", ["namespaces", name, "tables", table]:
            return loaded(TABLES.load_table((*name.split("\x1f"), table)))
        case "POST", ["namespaces", name, "register"]:
            identifier = (*name.split("\x1f"), body["name"])
            if identifier in TABLES.list_tables(identifier[:-1]):
                if not body.get("overwrite"):
                    raise Refused(409, "it exists")
                TABLES.drop_table(identifier)
            return loaded(TABLES.register_table(identifier, body["metadata-location"]))
    raise Refused(404, "no such path")


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, told):
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            with LOCK:
                if parts == ["base", "v1", "oauth", "tokens"]:
                    form = dict(urllib.parse.parse_qsl(text.decode()))
                    if f"{form['client_id']}:{form['client_secret']}" != CREDENTIAL:
                        raise Refused(401, "unknown client")
                    token = f"token-{len(USES)}"
                    USES[token] = 6
                    return self.reply(200, {"access_token": token, "token_type": "bearer"})
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                if USES.get(token, 0) <= 0:
                    raise Refused(401, "no token, or an old one")
                USES[token] -= 1
                if parts[:2] != ["base", "v1"]:
                    raise Refused(404, "no such path")
                told = answer(self.command, parts[2:], query, json.loads(text) if text else {})
                self.reply(200, told)
        except Refused as refused:
            self.reply(refused.status, {"error": {"message": refused.message, "code": refused.status}})
        except (NoSuchTableError, NoSuchNamespaceError) as error:
            self.reply(404, {"error": {"message": str(error), "code": 404}})
        except NamespaceAlreadyExistsError as error:
            self.reply(409, {"error": {"message": str(error), "code": 409}})
        except FileNotFoundError as error:
            self.reply(500, {"error": {"message": str(error), "code": 500}})

    do_GET = do_POST = serve


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}/base", flush=True)
sys.stdin.read()
