"""A fake of Cloudflare's API for one zone, and the calls of Cloudflare's own library.

    fake.py serve PORT ZONE DIR     answers; DIR/asked has the requests, DIR/held the records,
                                    DIR/behave says how it behaves
    fake.py calls URL SCRIPT        makes the calls of a script by the library
"""
import http.server
import json
import pathlib
import sys
from urllib.parse import parse_qsl, urlsplit

OURS = {"ttl": 300, "type": "CNAME", "comment": "managed by podgate", "content": "edge.nodes.test", "proxied": True}


def calls(url, script):
    import cloudflare

    records = cloudflare.Cloudflare(api_token="tok", base_url=url, max_retries=0)
    zone = records.zones.list(name="pods.test").result[0].id
    at, records = {"zone_id": zone}, records.dns.records
    name = "{}-web-john.pods.test".format
    if script == "services":
        records.list(**at, name={"endswith": ".pods.test"}, per_page=1000)
        records.batch(**at, posts=[{"name": name(it), **OURS} for it in "abc"])
        records.delete("r2", **at)
        records.create(**at, name=name("d"), **OURS)
        records.list(**at, name={"endswith": ".pods.test"}, per_page=1000)
        records.edit("r1", **at, name=name("a"), **OURS)
    else:
        txt = {"type": "TXT", "name": "_acme-challenge.pods.test", "ttl": 60, "content": '"abc"'}
        made = records.create(**at, **txt, comment="managed by podgate")
        try:
            records.create(**at, **txt, comment="managed by podgate")
        except cloudflare.BadRequestError:
            pass
        found = {"name": {"exact": "_acme-challenge.pods.test"}, "type": "TXT", "per_page": 1000}
        records.list(**at, **found)
        records.delete("r5" if made is None else made.id, **at)
        records.list(**at, **found)


class Fault(Exception):
    pass


class Fake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held = [{"id": "r0", "name": "mail.pods.test", "type": "A", "content": "192.0.2.1", "ttl": 300, "proxied": False}]
    made = 0

    def log_message(self, *_):
        pass

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        behave = (DIR / "behave").read_text() if (DIR / "behave").exists() else ""
        headers = {it: self.headers.get(it) for it in ("accept", "authorization", "content-type")}
        if self.command != "POST" and not body:
            headers.pop("content-type")
        with open(DIR / "asked", "a") as asked:
            asked.write(json.dumps([self.command, self.path, body, headers]) + "\n")
        if behave.startswith("spoil "):
            for it in Fake.held:
                if it["name"] == behave.split()[1]:
                    it["content"] = "elsewhere.test"
            (DIR / "behave").write_text("")
        wait = None
        try:
            if behave == "403":
                raise Fault(403, 10000, "Authentication error")
            if behave == "429":
                wait = 7
                raise Fault(429, 10013, "Rate limited.")
            if behave == "503":
                raise Fault(503, 0, "Service Unavailable")
            if behave == "refuse" and self.command != "GET":
                raise Fault(400, 9007, "DNS Validation Error")
            result = self.answer(json.loads(body) if body else None, behave)
            status, answer = 200, {"success": True, "errors": [], "messages": [], "result": result}
            if isinstance(result, list):
                answer["result_info"] = {"page": 1, "per_page": 1000, "total_pages": 1, "count": len(result)}
        except Fault as fault:
            status, code, message = fault.args
            answer = {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
        data = b"<html>captive portal</html>" if behave == "html" else json.dumps(answer).encode()
        (DIR / "held.new").write_text(json.dumps(Fake.held))
        (DIR / "held.new").replace(DIR / "held")
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if wait:
            self.send_header("retry-after", str(wait))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = do

    def answer(self, body, behave):
        url = urlsplit(self.path)
        asked, parts = dict(parse_qsl(url.query)), url.path.strip("/").split("/")
        if parts == ["zones"]:
            return [] if behave == "no zone" else [{"id": "z1", "name": asked["name"]}]
        if parts[:3] != ["zones", "z1", "dns_records"]:
            raise Fault(404, 7003, "Could not route")
        if self.command == "GET":
            return [it for it in Fake.held if self.fits(it, asked)]
        if parts[3:] == ["batch"]:
            before = [dict(it) for it in Fake.held]
            try:
                gone = [self.delete(it["id"]) for it in body.get("deletes", [])]
                patched = [self.patch(it["id"], it) for it in body.get("patches", [])]
                made = [self.create(it) for it in body.get("posts", [])]
            except Fault:
                Fake.held = before
                raise
            return {"deletes": gone, "patches": patched, "puts": [], "posts": made}
        if self.command == "POST":
            return self.create(body)
        if self.command == "PATCH":
            return self.patch(parts[3], body)
        return self.delete(parts[3])

    def fits(self, it, asked):
        return (
            it["name"].endswith(asked.get("name.endswith", ""))
            and asked.get("name.exact", it["name"]) == it["name"]
            and asked.get("type", it["type"]) == it["type"]
        )

    def create(self, body):
        same = [it for it in Fake.held if it["name"] == body["name"]]
        if any(it["type"] == body["type"] and it["content"] == body["content"] for it in same):
            raise Fault(400, 81058, "An identical record already exists.")
        if body["type"] == "CNAME" and same:
            raise Fault(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
        Fake.made += 1
        record = {"id": f"r{Fake.made}", **body}
        if record.get("proxied"):
            record["ttl"] = 1
        Fake.held.append(record)
        return record

    def find(self, which):
        for it in Fake.held:
            if it["id"] == which:
                return it
        raise Fault(404, 81044, "Record does not exist.")

    def patch(self, which, body):
        record = self.find(which)
        record.update(body, ttl=1 if body.get("proxied") else body["ttl"], id=which)
        return record

    def delete(self, which):
        Fake.held.remove(self.find(which))
        return {"id": which}


if sys.argv[1] == "calls":
    calls(*sys.argv[2:])
else:
    DIR = pathlib.Path(sys.argv[4])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Fake).serve_forever()
